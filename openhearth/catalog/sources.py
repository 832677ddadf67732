"""How an operator names a model to pull, and what each name stands for."""

import re
from pathlib import Path
from typing import Protocol

from openhearth.catalog.bundled import BUNDLED_MODELS
from openhearth.catalog.embedded import EMBEDDED_MODELS
from openhearth.catalog.gguf import GGUFModel
from openhearth.catalog.progress import Progress
from openhearth.catalog.registration import FolderModel, HubModel
from openhearth.errors import ConfigurationError

_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


class Source(Protocol):
    """A place that one model comes from. Its name and origin follow from how it was written, without a look at disk."""

    @property
    def id(self) -> str:
        """The name the model is served under."""
        ...

    @property
    def origin(self) -> str:
        """The place, as the model's note names it."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """The content that pulling would bring; `None` if whatever was brought from there before will do."""
        ...

    def place(self, models_dir: Path, progress: Progress) -> None:
        """Make the model present. To be called by one process at a time for one id."""
        ...


def parse_source(text: str) -> Source | None:
    """Read an embedded model's name, `….gguf`, a path that starts with `/`, `.` or `~`, or `org/name[@revision]`.

    `None` stands for any other plain name: only a folder that already lies among the models can have it. Raises
    `ConfigurationError` for what is no name at all.
    """
    path = Path(text).expanduser()
    if text in EMBEDDED_MODELS:
        return EMBEDDED_MODELS[text]
    if text in BUNDLED_MODELS:
        return BUNDLED_MODELS[text]
    if path.suffix.lower() == ".gguf":
        return GGUFModel(path.absolute())
    if path.is_absolute() or text.startswith("."):
        return FolderModel(path.resolve())
    if hub := _HUB.fullmatch(text):
        return HubModel(hub["repository"], hub["revision"])
    if text and "/" not in text:
        return None
    raise ConfigurationError(
        f"'{text}' does not name a model: write the name of an embedded model, a path that starts with / or ., "
        "a .gguf file, or org/name[@revision] on the Hugging Face hub."
    )
