"""Tuned models taken home: the adapter by itself, or merged into its base, with a Modelfile beside it."""

import asyncio
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Protocol

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.gguf_export import export_gguf
from openhearth.errors import ConfigurationError
from openhearth.services.training_files import ADAPTER_FILES, TrainingFiles
from openhearth.store.database import Database

ExportFormat = Literal["peft", "merged", "gguf"]
_MAX_NAME = 200  # file systems take 255 bytes, with the ending


class Merge(Protocol):
    """Writes a base model with an adapter in it to a directory, in the base's precision or in f32."""

    def __call__(
        self, base_model: Path, adapter: Path, target: Path, *, dtype: Literal["auto", "float32"] = "auto"
    ) -> None:
        """Write the model and its tokenizer to `target`, a directory."""
        ...


class Exports:
    """Writes tuned models to directories of the operator's."""

    def __init__(self, database: Database, files: TrainingFiles, catalog: Catalog, *, merge: Merge) -> None:
        self._database = database
        self._files = files
        self._catalog = catalog
        self._merge = merge

    async def export(self, name: str, target: Path, export_format: ExportFormat) -> None:
        """Write the tuned model of any project to `target`, which must not exist or be empty.

        Raises `ConfigurationError` with what is wrong.
        """
        async with self._database.read() as tx:
            row = await tx.tuned_models.find(name)
        if row is None:
            raise ConfigurationError(f"No tuned model is called '{name}'.")
        base = self._catalog.resolve(row.base_model).path
        if base is None:
            raise ConfigurationError(f"The base model {row.base_model} is not on this machine; pull it first.")
        if target.exists() and not target.is_dir():
            raise ConfigurationError(f"{target} is a file; choose a directory that is empty or not there yet.")
        if target.exists() and any(target.iterdir()):
            raise ConfigurationError(f"The directory {target} is not empty; choose another.")
        target.mkdir(parents=True, exist_ok=True)
        adapter = self._files.path(row.directory)
        modelfile = await asyncio.to_thread(self._write, name, base, adapter, target, export_format)
        (target / "Modelfile").write_text(modelfile, encoding="utf-8")

    def _write(self, name: str, base: Path, adapter: Path, target: Path, export_format: ExportFormat) -> str:
        """Write the files, and return the Modelfile that leads to them."""
        match export_format:
            case "peft":
                for file in ADAPTER_FILES:
                    shutil.copyfile(adapter / file, target / file)
                return f"FROM {base}\nADAPTER .\n"
            case "merged":
                self._merge(base, adapter, target)
                return "FROM .\n"
            case "gguf":
                return f"FROM ./{self._write_gguf(name, base, adapter, target)}\n"

    def _write_gguf(self, name: str, base: Path, adapter: Path, target: Path) -> str:
        """Write one file named after the model, rounding its weights once; return the file's name."""
        file_name = f"{_safe(name)}.gguf"
        with TemporaryDirectory(dir=target) as merged:
            self._merge(base, adapter, Path(merged), dtype="float32")
            export_gguf(Path(merged), base, target / file_name, name=name)
        return file_name


def _safe(name: str) -> str:
    """Return a model's name as one file name: whatever is not a letter, a digit, `.`, `_` or `-` becomes `-`."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)[:_MAX_NAME]
