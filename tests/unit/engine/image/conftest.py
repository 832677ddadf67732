"""Tiny models, made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openhearth.engine.image.painter import Painter
from openhearth.engine.image.pipeline import Pipeline
from tests.image_models import build_image_model

FAMILIES = ("sd1", "sdxl", "sd3", "flux")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a family's model."""
    root, made = tmp_path_factory.mktemp("image-models"), {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = build_image_model(root / family, family)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def pipeline(model_folder: Callable[[str], Path]) -> Callable[[str], Pipeline]:
    """Give a family's model in memory."""
    made: dict[str, Pipeline] = {}

    def load(family: str) -> Pipeline:
        if family not in made:
            made[family] = Pipeline(model_folder(family))
        return made[family]

    return load


@pytest.fixture
def painter(pipeline: Callable[[str], Pipeline]) -> Callable[[str], Painter]:
    """Give what paints with a family's model."""
    return lambda family: Painter(pipeline(family), max_batch_pixels=2**22)
