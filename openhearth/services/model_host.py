"""The models that are in memory, each under its own name and its aliases. Leaves what there is to the catalog."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openhearth import __version__
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.entry import ModelEntry
from openhearth.engine.base import TextEngine
from openhearth.errors import ModelLoadError, ModelNotFoundError, ServiceUnavailableError

LoadEngine = Callable[[Path], TextEngine]
"""Loads the model in a directory; may take seconds, and raises `ModelLoadError`."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, under its own name."""

    id: str
    engine: TextEngine

    @property
    def system_fingerprint(self) -> str:
        """What changes whenever the same seed may give another text: the model and the program that runs it."""
        return f"fp_{hashlib.sha256(f'{self.id} {__version__}'.encode()).hexdigest()[:10]}"


class ModelHost:
    """Loads a model when it is first asked for, in a thread, once; the `default` one already at the start."""

    def __init__(self, catalog: Catalog, *, load: LoadEngine, default: str) -> None:
        self._catalog = catalog
        self._load = load
        self._default = default
        self._loaded: dict[str, LoadedModel] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._starting: asyncio.Task[LoadedModel] | None = None

    @property
    def loaded(self) -> Sequence[LoadedModel]:
        """The models that are in memory."""
        return tuple(self._loaded.values())

    @property
    def is_ready(self) -> bool:
        """Whether the default model is in memory."""
        return self._starting is not None and self._starting.done() and bool(self._loaded)

    def start(self) -> None:
        """Begin to load the default model."""
        self._starting = asyncio.create_task(self._load_default())

    async def ready(self) -> None:
        """Wait until the default model is in memory. Raises `ModelLoadError` if it cannot be loaded."""
        assert self._starting is not None
        await asyncio.shield(self._starting)

    async def get(self, name: str) -> LoadedModel:
        """Return the model or alias of this name, loading it if it is not in memory.

        Raises `ModelNotFoundError` for a name that no text model has, and `ServiceUnavailableError` if it cannot be
        loaded.
        """
        entry = self._catalog.resolve(name)
        if entry.kind != "text" or not entry.is_ready:
            raise ModelNotFoundError(name)
        try:
            return await self._get(entry)
        except ModelLoadError as error:
            raise ServiceUnavailableError(f"The model `{name}` cannot be loaded: {error}") from error

    async def close(self) -> None:
        """Unload all models."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        for model in self._loaded.values():
            await model.engine.close()
        self._loaded.clear()

    async def _load_default(self) -> LoadedModel:
        return await self._get(self._catalog.resolve(self._default))

    async def _get(self, entry: ModelEntry) -> LoadedModel:
        model_id = entry.alias_of or entry.id
        async with self._locks[model_id]:
            if model_id not in self._loaded:
                if entry.path is None:
                    raise ModelLoadError(f"{model_id} is not on this machine; `openhearth pull {model_id}` fetches it.")
                engine = await asyncio.to_thread(self._load, entry.path)
                self._loaded[model_id] = LoadedModel(model_id, engine)
            return self._loaded[model_id]
