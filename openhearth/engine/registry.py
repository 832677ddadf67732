"""Which engine serves a model. An implementation is loaded by its dotted name when it is chosen, and not before."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from openhearth.engine.base import EmbeddingEngine, ImageEngine, TextEngine
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.memory import estimate_adapter_bytes, estimate_bytes
from openhearth.errors import ModelLoadError

_TEXT_ENGINE = ("openhearth.engine.text.engine", "OpenVINOTextEngine")
_REMOTE_TEXT_ENGINE = ("openhearth.engine.remote.engine", "RemoteTextEngine")
_EMBEDDING_ENGINE = ("openhearth.engine.embedding.engine", "OpenVINOEmbeddingEngine")
_REMOTE_EMBEDDING_ENGINE = ("openhearth.engine.remote.embedding", "RemoteEmbeddingEngine")
_IMAGE_ENGINE = ("openhearth.engine.image.engine", "DiffusersImageEngine")
_IMAGE_LIBRARIES = ("PIL", "diffusers", "torch", "transformers")


def load_text_engine(model: Path, config: EngineConfig) -> TextEngine:
    """Load the model in a Hugging Face directory; takes seconds. Raises `ModelLoadError`."""
    module, name = _TEXT_ENGINE
    implementation = cast("Callable[[Path, EngineConfig], TextEngine]", getattr(import_module(module), name))
    return implementation(model, config)


def estimate_text_engine(model: Path, config: EngineConfig) -> int:
    """Return how many bytes of memory the model needs, without loading it. Raises `ModelLoadError`."""
    return estimate_bytes(model, config)


def estimate_text_adapters(model: Path, config: EngineConfig) -> int:
    """Return how many bytes of memory the model needs beyond that to serve adapters. Raises `ModelLoadError`."""
    return estimate_adapter_bytes(model, config)


def load_remote_text_engine(config: RemoteConfig) -> TextEngine:
    """Prepare to let another server compute. Raises `ModelLoadError`."""
    module, name = _REMOTE_TEXT_ENGINE
    implementation = cast("Callable[[RemoteConfig], TextEngine]", getattr(import_module(module), name))
    return implementation(config)


def load_embedding_engine(model: Path, config: EmbeddingConfig) -> EmbeddingEngine:
    """Load the model in a Hugging Face directory; takes seconds. Raises `ModelLoadError`."""
    module, name = _EMBEDDING_ENGINE
    implementation = cast("Callable[[Path, EmbeddingConfig], EmbeddingEngine]", getattr(import_module(module), name))
    return implementation(model, config)


def load_remote_embedding_engine(config: RemoteConfig) -> EmbeddingEngine:
    """Prepare to let another server compute. Raises `ModelLoadError`."""
    module, name = _REMOTE_EMBEDDING_ENGINE
    implementation = cast("Callable[[RemoteConfig], EmbeddingEngine]", getattr(import_module(module), name))
    return implementation(config)


def load_image_engine(model: Path, config: ImageEngineConfig) -> ImageEngine:
    """Load the model in a diffusers directory; takes seconds. Raises `ModelLoadError`."""
    missing = [library for library in _IMAGE_LIBRARIES if find_spec(library) is None]
    if missing:
        raise ModelLoadError(
            f"images need libraries that are not installed here ({', '.join(missing)}); "
            "install them with `pip install 'openhearth[images]'`."
        )
    module, name = _IMAGE_ENGINE
    implementation = cast("Callable[[Path, ImageEngineConfig], ImageEngine]", getattr(import_module(module), name))
    return implementation(model, config)
