"""What a diffusers directory may ask to be loaded. Read before anything of it is: no code of its own ever runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openhearth.engine.image.components import COMPONENTS
from openhearth.errors import ModelLoadError

_LIBRARIES = ("diffusers", "transformers")
_LEFT_OUT = ("safety_checker", "feature_extractor")
"""Components of Stable Diffusion 1.x that judge its results. They are not loaded."""


def read_model_index(folder: Path) -> Mapping[str, Any]:
    """Return the directory's `model_index.json`.

    Raises `ModelLoadError` if it cannot be read, or names a class that is not one of diffusers, transformers or ours.
    """
    try:
        index: dict[str, Any] = json.loads((folder / "model_index.json").read_bytes())
        pipeline = index["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(f"its model_index.json cannot be read: {error}.") from error
    if not isinstance(pipeline, str):
        raise ModelLoadError("its pipeline is code of its own, which openhearth never runs.")
    for name, entry in index.items():
        if isinstance(entry, list) and name not in _LEFT_OUT:
            _check_component(name, entry)
    return index


def left_out(index: Mapping[str, Any]) -> dict[str, None]:
    """Return the arguments that keep components from being loaded."""
    return {name: None for name in _LEFT_OUT if name in index and "safety_checker" in index}


def own_components(index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the components that are of our own classes, each with its module and class."""
    return {name: (entry[0], entry[1]) for name, entry in index.items() if _is_our_own(entry)}


def _check_component(name: str, entry: list[Any]) -> None:
    library = entry[0] if len(entry) == 2 else "?"
    if library is not None and library not in _LIBRARIES and not _is_our_own(entry):
        raise ModelLoadError(
            f"its {name} comes from '{library}'; openhearth loads components of diffusers and transformers, and those "
            "of its own that it lists, but never runs code that comes with a model."
        )


def _is_our_own(entry: Any) -> bool:
    return isinstance(entry, list) and all(isinstance(part, str) for part in entry) and tuple(entry) in COMPONENTS
