"""What a directory may ask to be loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from openhearth.engine.image.model_index import left_out, read_model_index
from openhearth.errors import ModelLoadError


def write_index(folder: Path, **entries: Any) -> Path:
    """Make a directory with a `model_index.json`."""
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"} | entries))
    return folder


@pytest.mark.parametrize(
    "entries",
    [
        {"unet": ["my_unet", "MyUNet"]},
        {"unet": ["os", "system"]},
        {"unet": ["diffusers_modules.local.unet", "UNet"]},
        {"unet": ["diffusers"]},
        {"unet": ["diffusers", "UNet2DConditionModel", "more"]},
        {"unet": [["openhearth"], "Settings"]},
        {"unet": ["openhearth.settings", "Settings"]},
        {"unet": ["openhearth.engine.image.components", "COMPONENTS"]},
        {"unet": ["openhearth.engine.image.retrieval.unlisted", "UNet"]},
        {"_class_name": ["my_pipeline", "MyPipeline"]},
    ],
)
def test_foreign_code_is_refused(tmp_path: Path, entries: dict[str, Any]) -> None:
    """A component or pipeline from anywhere but diffusers and transformers is refused."""
    with pytest.raises(ModelLoadError):
        read_model_index(write_index(tmp_path, **entries))


def test_safety_checkers_are_left_out(tmp_path: Path) -> None:
    """The safety checker of Stable Diffusion 1.x does not keep it from being loaded, and is not loaded itself."""
    index = read_model_index(
        write_index(
            tmp_path,
            safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
            feature_extractor=["transformers", "CLIPImageProcessor"],
            unet=["diffusers", "UNet2DConditionModel"],
            image_encoder=[None, None],
        )
    )

    assert left_out(index) == {"safety_checker": None, "feature_extractor": None}


def test_nothing_else_is_left_out(tmp_path: Path) -> None:
    """A model without a safety checker is loaded as it is."""
    index = read_model_index(write_index(tmp_path, feature_extractor=["transformers", "CLIPImageProcessor"]))

    assert left_out(index) == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_an_index_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """A broken index is an error that says so."""
    (tmp_path / "model_index.json").write_text(text)

    with pytest.raises(ModelLoadError, match="model_index"):
        read_model_index(tmp_path)
