"""The models that are in memory, each under its own name and its aliases. Leaves what there is to the catalog."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import structlog

from openhearth import __version__
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.entry import ModelEntry, ModelKind
from openhearth.engine.base import EmbeddingEngine, ImageEngine, LoRARequest, TextEngine
from openhearth.errors import ModelLoadError, ModelNotFoundError, ServiceUnavailableError
from openhearth.services.resident_models import Engine, ResidentModels
from openhearth.services.tuned_models import TunedModels

logger = structlog.get_logger(__name__)

_UNLOAD_INTERVAL_SECONDS = 10.0

E = TypeVar("E", bound=TextEngine | EmbeddingEngine | ImageEngine)
H = TypeVar("H")


def _without_images(_path: Path) -> ImageEngine:
    raise ModelLoadError("this server was put together without an image engine.")


def _without_remotes(_model_id: str) -> NoReturn:
    raise ModelLoadError("this server was put together without remote models.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaders:
    """How to load a model of each kind from its directory; may take seconds, and raises `ModelLoadError`.

    `remote` and `remote_embedding` prepare to let another server compute, by the name of the model. `estimate_text`
    says how many bytes of memory a text model needs, and `estimate_adapters` how many more it needs once it serves
    adapters; the others are taken to need as many as their weights have.
    """

    text: Callable[[Path], TextEngine]
    embedding: Callable[[Path], EmbeddingEngine]
    image: Callable[[Path], ImageEngine] = _without_images
    remote: Callable[[str], TextEngine] = _without_remotes
    remote_embedding: Callable[[str], EmbeddingEngine] = _without_remotes
    estimate_text: Callable[[Path], int] | None = None
    estimate_adapters: Callable[[Path], int] | None = None

    def estimate(self, entry: ModelEntry) -> int:
        """Return how many bytes of memory a model needs."""
        if entry.source == "remote":
            return 0
        if entry.kind == "text" and self.estimate_text is not None:
            return self.estimate_text(_directory(entry))
        return entry.size_bytes or 0

    def estimate_for_adapters(self, entry: ModelEntry) -> int:
        """Return how many bytes of memory a text model needs beyond itself to serve adapters."""
        if entry.source == "remote" or self.estimate_adapters is None:
            return 0
        return self.estimate_adapters(_directory(entry))

    def of_kind(self, kind: ModelKind) -> Callable[[ModelEntry], TextEngine | EmbeddingEngine | ImageEngine]:
        """Return what loads models of this kind."""
        match kind:
            case "text":
                return self.load_text
            case "embedding":
                return self.load_embedding
            case "image":
                return self.load_image

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


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class LoadedModel:
    """A text model in memory, under its own name; a tuned one is the engine of its base with `lora`."""

    id: str
    engine: TextEngine
    lora: LoRARequest | None = None

    @property
    def system_fingerprint(self) -> str:
        """What changes whenever the same seed may give another text: the model and the program that runs it."""
        return f"fp_{hashlib.sha256(f'{self.id} {__version__}'.encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class LoadedEmbeddingModel:
    """An embedding model in memory, under its own name."""

    id: str
    engine: EmbeddingEngine


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class LoadedImageModel:
    """An image model in memory, under its own name."""

    id: str
    engine: ImageEngine


_HOLDERS = {"text": LoadedModel, "embedding": LoadedEmbeddingModel, "image": LoadedImageModel}


class ModelHost:
    """Loads a model when it is first asked for, in a thread, once; the `defaults` already at the start.

    A model that `get` has returned stays in memory for as long as somebody holds it.
    """

    def __init__(
        self,
        catalog: Catalog,
        tuned_models: TunedModels,
        *,
        loaders: Loaders,
        defaults: Sequence[str],
        residents: ResidentModels,
        target_modules: str = "all-linear",
    ) -> None:
        """Take what there is; `target_modules` are what the adapters trained here are for, as PEFT names them."""
        self._catalog = catalog
        self._tuned_models = tuned_models
        self._defaults = defaults
        self._target_modules = target_modules
        self._expecting_adapters: set[str] = set()
        self._loaders = loaders
        self._residents = residents
        self._kinds: dict[str, ModelKind] = {}
        self._starting: asyncio.Task[None] | None = None
        self._unloading: asyncio.Task[NoReturn] | None = None
        self._preparing: set[asyncio.Task[None]] = set()

    @property
    def loaded(self) -> Sequence[LoadedModel]:
        """The text models that are in memory."""
        return [LoadedModel(model_id, cast("TextEngine", engine)) for model_id, engine in self._engines("text")]

    @property
    def loaded_embedding_models(self) -> Sequence[LoadedEmbeddingModel]:
        """The embedding models that are in memory."""
        return [
            LoadedEmbeddingModel(model_id, cast("EmbeddingEngine", engine))
            for model_id, engine in self._engines("embedding")
        ]

    @property
    def loaded_image_models(self) -> Sequence[LoadedImageModel]:
        """The image models that are in memory."""
        return [LoadedImageModel(model_id, cast("ImageEngine", engine)) for model_id, engine in self._engines("image")]

    @property
    def is_ready(self) -> bool:
        """Whether the default models have been loaded."""
        starting = self._starting
        return starting is not None and starting.done() and not starting.cancelled() and starting.exception() is None

    def start(self) -> None:
        """Begin to load the default models, and to unload what is idle."""
        self._starting = asyncio.create_task(self._load_defaults())
        self._unloading = asyncio.create_task(self._unload_regularly())

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
        if tuned is None:
            entry = self._find(name, "text")
            return await self._get(entry, self._loaders.load_text, partial(LoadedModel, _id(entry)))
        entry, lora = self._find(tuned.base_model, "text"), LoRARequest(name, tuned.path)
        loaded = await self._get(entry, self._loaders.load_text, partial(LoadedModel, name, lora=lora))
        with _reported(name):
            await self._make_room_for_adapters(entry)
        return loaded

    async def get_embedding_model(self, name: str) -> LoadedEmbeddingModel:
        """Return the embedding model or alias of this name; raises what `get` does."""
        entry = self._find(name, "embedding")
        return await self._get(entry, self._loaders.load_embedding, partial(LoadedEmbeddingModel, _id(entry)))

    async def get_image_model(self, name: str) -> LoadedImageModel:
        """Return the image model or alias of this name; raises what `get` does."""
        entry = self._find(name, "image")
        return await self._get(entry, self._loaders.load_image, partial(LoadedImageModel, _id(entry)))

    def expect_adapters(self, base_model: str) -> None:
        """Let a model get ready for adapters in the background: now, if it is in memory, and whenever it is loaded."""
        self._expecting_adapters.add(base_model)
        for model in self.loaded:
            if model.id == base_model:
                self._prepare(self._catalog.resolve(base_model), model)

    async def unload_idle(self) -> None:
        """Unload what nobody has used for long; the default models stay, but not the adapters for them."""
        await self._residents.unload_idle(kept={_id(self._catalog.resolve(name)) for name in self._defaults})
        if self._residents.idle_seconds:
            for model in self.loaded:
                await model.engine.unload_idle_loras(self._residents.idle_seconds)

    async def close(self) -> None:
        """Unload all models."""
        if self._unloading is not None:
            self._unloading.cancel()
        if self._starting is not None:
            await asyncio.gather(self._starting, *self._preparing, return_exceptions=True)
        await self._residents.clear()

    def _find(self, name: str, kind: ModelKind) -> ModelEntry:
        entry = self._catalog.resolve(name)
        if entry.kind != kind or not entry.is_ready:
            raise ModelNotFoundError(name)
        return entry

    def _engines(self, kind: ModelKind) -> list[tuple[str, Engine]]:
        engines = self._residents.engines.items()
        return [(model_id, engine) for model_id, engine in engines if self._kinds[model_id] == kind]

    async def _get(self, entry: ModelEntry, load: Callable[[ModelEntry], E], hold: Callable[[E], H]) -> H:
        with _reported(entry.id):
            return await self._resident(entry, load, hold)

    async def _resident(self, entry: ModelEntry, load: Callable[[ModelEntry], E], hold: Callable[[E], H]) -> H:
        model_id = _id(entry)
        self._kinds[model_id] = entry.kind
        was_loaded = model_id in self._residents.engines
        estimate = partial(self._loaders.estimate, entry)
        holder = await self._residents.get(model_id, estimate=estimate, load=partial(load, entry), hold=hold)
        if isinstance(holder, LoadedModel) and not was_loaded and model_id in self._expecting_adapters:
            self._prepare(entry, holder)
        return holder

    async def _make_room_for_adapters(self, entry: ModelEntry) -> None:
        estimate = partial(self._loaders.estimate_for_adapters, entry)
        await self._residents.extend(_id(entry), estimate=estimate)

    def _prepare(self, entry: ModelEntry, model: LoadedModel) -> None:
        async def prepare() -> None:
            try:
                await self._make_room_for_adapters(entry)
                await model.engine.prepare_lora(self._target_modules)
            except ModelLoadError as error:
                logger.warning("no_room_for_adapters", model=model.id, problem=str(error))
            except Exception:
                logger.exception("preparing_for_adapters_failed", model=model.id)

        preparing = asyncio.create_task(prepare())
        self._preparing.add(preparing)
        preparing.add_done_callback(self._preparing.discard)

    async def _load_defaults(self) -> None:
        held = []  # so that none of them has to make room for another
        for entry in map(self._catalog.resolve, self._defaults):
            hold: partial[Any] = partial(_HOLDERS[entry.kind], _id(entry))
            held.append(await self._resident(entry, self._loaders.of_kind(entry.kind), hold))

    async def _unload_regularly(self) -> NoReturn:
        while True:
            await asyncio.sleep(_UNLOAD_INTERVAL_SECONDS)
            try:
                await self.unload_idle()
            except Exception:
                logger.exception("unloading_failed")


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Say of which model it is that it cannot be loaded, to whoever asked for it."""
    try:
        yield
    except ModelLoadError as error:
        raise ServiceUnavailableError(f"The model `{name}` cannot be loaded: {error}") from error


def _id(entry: ModelEntry) -> str:
    return entry.alias_of or entry.id


def _directory(entry: ModelEntry) -> Path:
    if entry.path is None:
        raise ModelLoadError(f"{_id(entry)} is not on this machine; `openhearth pull {_id(entry)}` fetches it.")
    return entry.path
