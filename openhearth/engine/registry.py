"""Which engine serves a model. An implementation is loaded by its dotted name when it is chosen, and not before."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from openhearth.engine.base import TextEngine
from openhearth.engine.text.config import EngineConfig

_TEXT_ENGINE = ("openhearth.engine.text.engine", "OpenVINOTextEngine")


def load_text_engine(model: Path, config: EngineConfig) -> TextEngine:
    """Load the model in a Hugging Face directory; takes seconds. Raises `ModelLoadError`."""
    module, name = _TEXT_ENGINE
    implementation = cast("Callable[[Path, EngineConfig], TextEngine]", getattr(import_module(module), name))
    return implementation(model, config)
