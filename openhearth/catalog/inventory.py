"""The models that are here, and the embedded ones that could be, as the disk shows them at one moment."""

from dataclasses import replace
from pathlib import Path

from openhearth.catalog.bundled import BUNDLED_MODELS, BundledModel
from openhearth.catalog.embedded import EMBEDDED_MODELS, EmbeddedModel
from openhearth.catalog.entry import ModelEntry
from openhearth.catalog.folders import is_model_folder, read_folder
from openhearth.catalog.provenance import Provenance, read_note, registered


def take_inventory(models_dir: Path) -> dict[str, ModelEntry]:
    """Return every model by its id: the embedded ones first, then the others in the order of their names."""
    found = {entry.id: entry for entry in (*_folders(models_dir), *_registered(models_dir))}
    ours: list[EmbeddedModel | BundledModel] = [*EMBEDDED_MODELS.values(), *BUNDLED_MODELS.values()]
    embedded = {model.id: replace(found.pop(model.id, _absent(model)), remark=model.remark) for model in ours}
    return embedded | {model_id: found[model_id] for model_id in sorted(found)}


def find_note(models_dir: Path, model_id: str) -> Provenance | None:
    """Return the note of a model that was pulled, or `None`."""
    notes = {note.id: note for note in registered(models_dir)}
    return notes.get(model_id) or read_note(models_dir / model_id)


def _folders(models_dir: Path) -> list[ModelEntry]:
    if not models_dir.is_dir():
        return []
    return [
        _entry(read_note(path) or _found_by_itself(path), path)
        for path in models_dir.iterdir()
        if not path.name.startswith(".") and is_model_folder(path)
    ]


def _registered(models_dir: Path) -> list[ModelEntry]:
    return [_entry(note, Path(note.location)) for note in registered(models_dir) if note.location]


def _found_by_itself(path: Path) -> Provenance:
    return Provenance(id=path.name, source="folder", origin=str(path), fingerprint="")


def _entry(note: Provenance, path: Path) -> ModelEntry:
    owner = note.id.partition("/")[0] if note.source == "hub" else "system"
    if not is_model_folder(path):
        problem = f"its directory {path} is gone; pull it again."
        return ModelEntry(id=note.id, kind="text", source=note.source, path=None, owned_by=owner, problem=problem)
    folder = read_folder(path)
    return ModelEntry(
        id=note.id,
        kind=folder.kind,
        source=note.source,
        path=path,
        created=folder.created,
        owned_by=owner,
        context_length=folder.context_length,
        size_bytes=folder.size_bytes,
        problem=folder.problem,
    )


def _absent(model: EmbeddedModel | BundledModel) -> ModelEntry:
    return ModelEntry(
        id=model.id,
        kind=model.kind,
        source="embedded",
        path=None,
        context_length=model.context_length,
        size_bytes=model.size_bytes,
    )
