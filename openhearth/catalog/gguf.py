"""A GGUF file as a source: the file stays where it is, and a converted copy joins the models."""

from dataclasses import dataclass
from pathlib import Path

from openhearth.catalog.gguf_convert import FORMAT, convert_gguf
from openhearth.catalog.progress import Progress
from openhearth.catalog.provenance import Provenance, leave_note
from openhearth.catalog.publishing import publish_directory
from openhearth.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class GGUFModel:
    """A model in a `.gguf` file, called by the file's name without its ending."""

    file: Path

    @property
    def id(self) -> str:
        """The name the model is served under."""
        return self.file.stem

    @property
    def origin(self) -> str:
        """The file."""
        return str(self.file)

    @property
    def fingerprint(self) -> str | None:
        """The state of the file and the way it is converted; `None` if the file is gone, when a copy may do."""
        if not self.file.is_file():
            return None
        state = self.file.stat()
        return f"{state.st_size} bytes of {state.st_mtime_ns} format {FORMAT}"

    def place(self, models_dir: Path, progress: Progress) -> None:
        """Convert the file into a directory among the models."""
        fingerprint = self.fingerprint
        if fingerprint is None:
            raise ConfigurationError(f"The file {self.file} does not exist.")
        note = Provenance(id=self.id, source="gguf", origin=self.origin, fingerprint=fingerprint)

        def build(target: Path) -> None:
            convert_gguf(self.file, target, name=self.id, progress=progress)
            leave_note(note, target)

        publish_directory(models_dir, self.id, build)
