"""Which engine serves a model. An implementation is loaded by its dotted name when it is chosen, and not before."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from openhearth.engine.base import EmbeddingEngine, TextEngine
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.text.config import EngineConfig

_TEXT_ENGINE = ("openhearth.engine.text.engine", "OpenVINOTextEngine")
_EMBEDDING_ENGINE = ("openhearth.engine.embedding.engine", "OpenVINOEmbeddingEngine")


def load_text_engine(model: Path, config: EngineConfig) -> TextEngine:
    """Load the model in a Hugging Face directory; takes seconds. Raises `ModelLoadError`."""
    module, name = _TEXT_ENGINE
    implementation = cast("Callable[[Path, EngineConfig], TextEngine]", getattr(import_module(module), name))
    return implementation(model, config)


def load_embedding_engine(model: Path, config: EmbeddingConfig) -> EmbeddingEngine:
    """Load the model in a Hugging Face directory; takes seconds. Raises `ModelLoadError`."""
    module, name = _EMBEDDING_ENGINE
    implementation = cast("Callable[[Path, EmbeddingConfig], EmbeddingEngine]", getattr(import_module(module), name))
    return implementation(model, config)
