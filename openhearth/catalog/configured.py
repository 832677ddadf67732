"""The catalog that the settings describe, for the server and for the commands."""

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.entry import ModelEntry
from openhearth.settings import RemoteSettings, Settings


def configured_catalog(settings: Settings) -> Catalog:
    """Return the catalog of the models that are here, that could be fetched, and that other servers compute."""
    return Catalog(
        settings.models,
        aliases=settings.aliases,
        configured=settings.default_models,
        remotes=[_remote_entry(name, remote) for name, remote in settings.remotes.items()],
    )


def _remote_entry(name: str, remote: RemoteSettings) -> ModelEntry:
    """Return a remote model; its directory is that of its tokenizer, the only part of it that is here."""
    is_there = (remote.tokenizer / "tokenizer.json").is_file()
    return ModelEntry(
        id=name,
        kind=remote.kind,
        source="remote",
        path=remote.tokenizer,
        owned_by="remote",
        context_length=remote.max_model_len,
        problem=None if is_there else f"its tokenizer's directory {remote.tokenizer} has no tokenizer.json.",
    )
