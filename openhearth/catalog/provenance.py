"""The note that a pull leaves: where a model came from, so that pulling it again finds nothing to do.

A model that openhearth made itself carries its note in its directory. One that lies elsewhere, in a folder of the
operator's or in the hub's cache, is registered: its note lies among the models and says where the directory is.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from openhearth.catalog.entry import ModelSource
from openhearth.catalog.publishing import publish_file

_NOTE = "openhearth.json"
_REGISTERED = ".registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a model came from: `origin` names the place, `fingerprint` the content that was taken from there.

    `location` is the model's directory, if the note does not lie in it.
    """

    id: str
    source: ModelSource
    origin: str
    fingerprint: str
    location: str | None = None


def leave_note(provenance: Provenance, directory: Path) -> None:
    """Write the note into the model's own directory."""
    _write(provenance, directory / _NOTE)


def read_note(directory: Path) -> Provenance | None:
    """Return the note in a model's directory, or `None` if it has none."""
    return _read(directory / _NOTE)


def register(provenance: Provenance, models_dir: Path) -> None:
    """Write the note of a model that lies elsewhere."""
    file = models_dir / _REGISTERED / f"{quote(provenance.id, safe='@')}.json"
    publish_file(file, lambda staging: _write(provenance, staging))


def registered(models_dir: Path) -> Iterator[Provenance]:
    """Give the notes of all models that lie elsewhere."""
    for file in sorted((models_dir / _REGISTERED).glob("*.json")):
        if note := _read(file):
            yield note


def _write(provenance: Provenance, file: Path) -> None:
    file.write_text(json.dumps(asdict(provenance), indent=2) + "\n", encoding="utf-8")


def _read(file: Path) -> Provenance | None:
    try:
        return Provenance(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
