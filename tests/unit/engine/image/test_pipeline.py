"""What of a directory is loaded, and that nothing of it is ever run."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from openhearth.engine.image.components import COMPONENTS
from openhearth.engine.image.drawing import Drawing
from openhearth.engine.image.pipeline import Pipeline
from openhearth.errors import ModelLoadError
from tests.image_components import OwnAutoencoder

pytestmark = pytest.mark.filterwarnings("ignore")  # Building the models, diffusers and transformers warn of their ways.

OWN = ("tests.image_components", "OwnAutoencoder")


@pytest.fixture
def folder(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """Give a directory of Stable Diffusion 1.x to change."""
    return Path(shutil.copytree(model_folder("sd1"), tmp_path / "model"))


def rename(folder: Path, **entries: object) -> None:
    """Change entries of the directory's index."""
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_components_of_our_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listed class of the package is loaded from the directory's files, and draws."""
    monkeypatch.setattr("openhearth.engine.image.model_index.COMPONENTS", COMPONENTS | {OWN})
    rename(folder, vae=list(OWN))

    pipeline = Pipeline(folder)

    [image] = pipeline.draw(
        Drawing(prompt="a cat", seeds=[1], size=(64, 64), num_inference_steps=1, guidance_scale=None),
        lambda _step: None,
    )
    assert type(pipeline._vae) is OwnAutoencoder
    assert image.size == (64, 64)


def test_components_that_are_not_listed(folder: Path) -> None:
    """The same class is refused as long as it is not listed."""
    rename(folder, vae=list(OWN))

    with pytest.raises(ModelLoadError, match=r"its vae comes from 'tests\.image_components'; .* never runs code"):
        Pipeline(folder)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        "vae/diffusers.py",
        "vae/tests.image_components.py",
        "vae/autoencoder_kl.py",
        "unet/transformers.py",
        "pipeline.py",
        "None.py",
        "StableDiffusionPipeline.py",
        "__init__.py",
    ],
)
def test_code_in_a_directory(folder: Path, monkeypatch: pytest.MonkeyPatch, listed: bool, place: str) -> None:
    """Wherever in a directory code lies, it is not run, whether the directory can be loaded with it or not."""
    if listed:
        monkeypatch.setattr("openhearth.engine.image.model_index.COMPONENTS", COMPONENTS | {OWN})
        rename(folder, vae=list(OWN))
    trace = folder / "was-here"
    (folder / place).write_text(f"open({str(trace)!r}, 'w').close()\n")

    with suppress(ModelLoadError):
        Pipeline(folder)

    assert not trace.exists()
