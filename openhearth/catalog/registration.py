"""Sources whose files stay where they are: a folder of the operator's, and the Hugging Face hub's own cache."""

from dataclasses import dataclass
from pathlib import Path

from openhearth.catalog.folders import is_model_folder, read_folder
from openhearth.catalog.hub import fetch_snapshot
from openhearth.catalog.progress import Progress
from openhearth.catalog.provenance import Provenance, register
from openhearth.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class FolderModel:
    """A directory in Hugging Face layout, called by the directory's name."""

    folder: Path
    fingerprint: None = None

    @property
    def id(self) -> str:
        """The name the model is served under."""
        return self.folder.name

    @property
    def origin(self) -> str:
        """The directory."""
        return str(self.folder)

    def place(self, models_dir: Path, progress: Progress) -> None:
        """Register the directory. Raises `ConfigurationError` if no model that can be served lies in it."""
        _refuse_unusable(self.folder, self.origin)
        register(
            Provenance(id=self.id, source="folder", origin=self.origin, fingerprint="", location=str(self.folder)),
            models_dir,
        )


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository on the Hugging Face hub, called as it was written, with the revision if one was."""

    repository: str
    revision: str | None
    fingerprint: None = None

    @property
    def id(self) -> str:
        """The name the model is served under."""
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    @property
    def origin(self) -> str:
        """The repository and revision."""
        return self.id

    def place(self, models_dir: Path, progress: Progress) -> None:
        """Fetch the repository into the hub's cache and register it."""
        snapshot = fetch_snapshot(self.repository, self.revision, progress)
        _refuse_unusable(snapshot, self.origin)
        register(
            Provenance(id=self.id, source="hub", origin=self.origin, fingerprint=snapshot.name, location=str(snapshot)),
            models_dir,
        )


def _refuse_unusable(path: Path, name: str) -> None:
    if not is_model_folder(path):
        raise ConfigurationError(f"{name} is not a model: it has neither config.json nor model_index.json.")
    problem = read_folder(path).problem
    if problem:
        raise ConfigurationError(f"{name} cannot be served: {problem}")
