"""Tuned models taken home: the adapter by itself, or merged into its base, with a Modelfile beside it."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from openhearth.catalog.catalog import Catalog
from openhearth.errors import ConfigurationError
from openhearth.services.training_files import ADAPTER_FILES, TrainingFiles
from openhearth.store.database import Database

ExportFormat = Literal["peft", "merged"]
Merge = Callable[[Path, Path, Path], None]
"""Writes a base model with an adapter in it to a directory."""


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
        if target.exists() and any(target.iterdir()):
            raise ConfigurationError(f"The directory {target} is not empty; choose another.")
        target.mkdir(parents=True, exist_ok=True)
        adapter = self._files.path(row.directory)
        if export_format == "merged":
            await asyncio.to_thread(self._merge, base, adapter, target)
            modelfile = "FROM .\n"
        else:
            for file in ADAPTER_FILES:
                await asyncio.to_thread(shutil.copyfile, adapter / file, target / file)
            modelfile = f"FROM {base}\nADAPTER .\n"
        (target / "Modelfile").write_text(modelfile, encoding="utf-8")
