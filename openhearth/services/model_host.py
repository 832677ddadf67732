"""The models that are in memory, each under its own name and its aliases. Leaves what there is to the catalog."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from openhearth import __version__
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.entry import ModelEntry, ModelKind
from openhearth.engine.base import EmbeddingEngine, ImageEngine, LoRARequest, TextEngine
from openhearth.errors import ModelLoadError, ModelNotFoundError, ServiceUnavailableError
from openhearth.services.tuned_models import TunedModels

E = TypeVar("E", bound=TextEngine | EmbeddingEngine | ImageEngine)


def _without_images(_path: Path) -> ImageEngine:
    raise ModelLoadError("this server was put together without an image engine.")


def _without_remotes(_model_id: str) -> NoReturn:
    raise ModelLoadError("this server was put together without remote models.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaders:
    """How to load a model of each kind from its directory; may take seconds, and raises `ModelLoadError`.

    `remote` and `remote_embedding` prepare to let another server compute, by the name of the model.
    """

    text: Callable[[Path], TextEngine]
    embedding: Callable[[Path], EmbeddingEngine]
    image: Callable[[Path], ImageEngine] = _without_images
    remote: Callable[[str], TextEngine] = _without_remotes
    remote_embedding: Callable[[str], EmbeddingEngine] = _without_remotes

    def load_text(self, entry: ModelEntry) -> TextEngine:
        """Load a text model, or prepare to let another server compute it."""
        return self.remote(_id(entry)) if entry.source == "remote" else self.text(_directory(entry))

    def load_embedding(self, entry: ModelEntry) -> EmbeddingEngine:
        """Load an embedding model, or prepare to let another server compute it."""
        is_remote = entry.source == "remote"
        return self.remote_embedding(_id(entry)) if is_remote else self.embedding(_directory(entry))

    def load_image(self, entry: ModelEntry) -> ImageEngine:
        """Load an image model."""
        return self.image(_directory(entry))


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A text model in memory, under its own name; a tuned one is the engine of its base with `lora`."""

    id: str
    engine: TextEngine
    lora: LoRARequest | None = None

    @property
    def system_fingerprint(self) -> str:
        """What changes whenever the same seed may give another text: the model and the program that runs it."""
        return f"fp_{hashlib.sha256(f'{self.id} {__version__}'.encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class LoadedEmbeddingModel:
    """An embedding model in memory, under its own name."""

    id: str
    engine: EmbeddingEngine


@dataclass(frozen=True, slots=True)
class LoadedImageModel:
    """An image model in memory, under its own name."""

    id: str
    engine: ImageEngine


class ModelHost:
    """Loads a model when it is first asked for, in a thread, once; the `defaults` already at the start."""

    def __init__(
        self, catalog: Catalog, tuned_models: TunedModels, *, loaders: Loaders, defaults: Sequence[str]
    ) -> None:
        self._catalog = catalog
        self._tuned_models = tuned_models
        self._defaults = defaults
        self._text = _Shelf(loaders.load_text)
        self._embedding = _Shelf(loaders.load_embedding)
        self._image = _Shelf(loaders.load_image)
        self._starting: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> Sequence[LoadedModel]:
        """The text models that are in memory."""
        return [LoadedModel(model_id, engine) for model_id, engine in self._text.engines.items()]

    @property
    def loaded_embedding_models(self) -> Sequence[LoadedEmbeddingModel]:
        """The embedding models that are in memory."""
        return [LoadedEmbeddingModel(model_id, engine) for model_id, engine in self._embedding.engines.items()]

    @property
    def is_ready(self) -> bool:
        """Whether the default models are in memory."""
        starting = self._starting
        return starting is not None and starting.done() and not starting.cancelled() and starting.exception() is None

    def start(self) -> None:
        """Begin to load the default models."""
        self._starting = asyncio.create_task(self._load_defaults())

    async def ready(self) -> None:
        """Wait until the default models are in memory. Raises `ModelLoadError` if one cannot be loaded."""
        assert self._starting is not None
        await asyncio.shield(self._starting)

    async def get(self, name: str, *, project: str) -> LoadedModel:
        """Return the text model, alias or tuned model of this name, loading it if it is not in memory.

        Raises `ModelNotFoundError` for a name that no text model has, or none that this project may call, and
        `ServiceUnavailableError` if it cannot be loaded.
        """
        tuned = await self._tuned_models.find(project, name)
        entry = self._find(name if tuned is None else tuned.base_model, "text")
        engine = await _loaded(self._text, entry)
        if tuned is None:
            return LoadedModel(_id(entry), engine)
        return LoadedModel(name, engine, LoRARequest(name, tuned.path))

    async def get_embedding_model(self, name: str) -> LoadedEmbeddingModel:
        """Return the embedding model or alias of this name; raises what `get` does."""
        entry = self._find(name, "embedding")
        return LoadedEmbeddingModel(_id(entry), await _loaded(self._embedding, entry))

    async def get_image_model(self, name: str) -> LoadedImageModel:
        """Return the image model or alias of this name; raises what `get` does."""
        entry = self._find(name, "image")
        return LoadedImageModel(_id(entry), await _loaded(self._image, entry))

    async def close(self) -> None:
        """Unload all models."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._text.clear()
        await self._embedding.clear()
        await self._image.clear()

    def _find(self, name: str, kind: ModelKind) -> ModelEntry:
        entry = self._catalog.resolve(name)
        if entry.kind != kind or not entry.is_ready:
            raise ModelNotFoundError(name)
        return entry

    async def _load_defaults(self) -> None:
        for entry in map(self._catalog.resolve, self._defaults):
            if entry.kind == "embedding":
                await self._embedding.get(entry)
            elif entry.kind == "image":
                await self._image.get(entry)
            else:
                await self._text.get(entry)


class _Shelf(Generic[E]):
    """The engines of one kind, by the ids of their models."""

    def __init__(self, load: Callable[[ModelEntry], E]) -> None:
        self.engines: dict[str, E] = {}
        self._load = load
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, entry: ModelEntry) -> E:
        """Return the engine of a model, loading it first if it is not there. Raises `ModelLoadError`."""
        model_id = _id(entry)
        async with self._locks[model_id]:
            if model_id not in self.engines:
                self.engines[model_id] = await asyncio.to_thread(self._load, entry)
            return self.engines[model_id]

    async def clear(self) -> None:
        """Close all engines."""
        for engine in self.engines.values():
            await engine.close()
        self.engines.clear()


async def _loaded(shelf: _Shelf[E], entry: ModelEntry) -> E:
    try:
        return await shelf.get(entry)
    except ModelLoadError as error:
        raise ServiceUnavailableError(f"The model `{entry.id}` cannot be loaded: {error}") from error


def _id(entry: ModelEntry) -> str:
    return entry.alias_of or entry.id


def _directory(entry: ModelEntry) -> Path:
    if entry.path is None:
        raise ModelLoadError(f"{_id(entry)} is not on this machine; `openhearth pull {_id(entry)}` fetches it.")
    return entry.path
