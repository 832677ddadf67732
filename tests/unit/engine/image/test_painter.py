"""Requests for images, carried out by real pipelines of random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from openhearth.engine.base import ImageOutput, ImageParams
from openhearth.engine.image.painter import Painter
from openhearth.engine.image.pipeline import Pipeline
from openhearth.errors import ModelLoadError
from tests.image_models import build_image_model
from tests.pictures import Pixels, decoded, noise, pixels_of, saved, with_hole
from tests.unit.engine.image.conftest import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of their own ways

GetPainter = Callable[[str], Painter]


def paint(painter: Painter, **params: Any) -> list[ImageOutput]:
    """Return what a request of four steps gives."""
    outputs: list[ImageOutput] = []
    defaults: dict[str, Any] = {"prompt": "a cat", "seeds": (1,), "num_inference_steps": 4}
    painter.paint(ImageParams(**(defaults | params)), outputs.append, lambda: None)
    return outputs


def only(outputs: list[ImageOutput]) -> Pixels:
    """Return the pixels of the one image there is."""
    (output,) = outputs
    return pixels_of(decoded(output.data))


@pytest.mark.parametrize("family", FAMILIES)
class TestFamilies:
    """What every family of models can do."""

    def test_size_is_exact(self, painter: GetPainter, family: str) -> None:
        """An image has the size that was asked for, whatever the model can draw."""
        (output,) = paint(painter(family), size=(101, 67))

        assert decoded(output.data).size == (output.width, output.height) == (101, 67)

    def test_seeds_decide(self, painter: GetPainter, family: str) -> None:
        """The same seed gives the same image, to the bit; another seed gives another."""
        first, again, other = (paint(painter(family), seeds=(seed,))[0].data for seed in (1, 1, 2))

        assert first == again
        assert first != other

    def test_images_of_a_batch_can_be_made_alone(self, painter: GetPainter, family: str) -> None:
        """An image of a batch is what its seed gives alone, but for one step of 255 of rounding."""
        batch = paint(painter(family), seeds=(1, 2, 3))
        alone = only(paint(painter(family), seeds=(3,)))

        assert [output.index for output in batch] == [0, 1, 2]
        assert np.abs(pixels_of(decoded(batch[2].data)).astype(int) - alone).max() <= 1

    def test_prompts_matter(self, painter: GetPainter, family: str) -> None:
        """Another prompt gives another image."""
        assert paint(painter(family))[0].data != paint(painter(family), prompt="a dog in the snow")[0].data

    def test_pixels_outside_the_mask_come_back(self, painter: GetPainter, family: str, tmp_path: Path) -> None:
        """An edit changes pixels inside the mask, and none outside it."""
        picture = noise(100, 80)
        mask = with_hole(picture, left=30, top=20, right=60, bottom=40)

        result = only(
            paint(
                painter(family),
                images=(saved(picture, tmp_path / "image.png"),),
                mask=saved(mask, tmp_path / "mask.png"),
            )
        )

        hole = pixels_of(mask, "RGBA")[..., 3] == 0
        assert (result[~hole] == pixels_of(picture)[~hole]).all()
        assert (result[hole] != pixels_of(picture)[hole]).mean() > 0.5

    def test_variations(self, painter: GetPainter, family: str, tmp_path: Path) -> None:
        """A picture can be changed as a whole."""
        path = saved(noise(), tmp_path / "image.png")

        result = only(paint(painter(family), prompt="", images=(path,), strength=0.65))

        assert result.shape == (80, 80, 3)
        assert (result != pixels_of(noise())).mean() > 0.5

    def test_previews(self, painter: GetPainter, family: str) -> None:
        """Previews come before the image, in order, with its size, and are on their way to it."""
        outputs = paint(painter(family), seeds=(1, 2), num_partial_images=3, num_inference_steps=8)

        assert [(output.index, output.partial_index) for output in outputs] == [
            *((index, partial_index) for partial_index in range(3) for index in range(2)),
            (0, None),
            (1, None),
        ]
        final = pixels_of(decoded(outputs[-2].data)).astype(int)
        errors = [np.abs(pixels_of(decoded(output.data)) - final).mean() for output in outputs[:6:2]]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 20


def test_strength_is_how_far_a_picture_may_go(painter: GetPainter, tmp_path: Path) -> None:
    """A lower strength stays nearer to the picture."""
    picture = Image.new("RGB", (64, 64), (200, 30, 60))
    path = saved(picture, tmp_path / "image.png")

    near, far = (
        np.abs(
            only(paint(painter("sd1"), images=(path,), strength=strength, num_inference_steps=10)).astype(int)
            - only(paint(painter("sd1"), images=(path,), strength=0.01, num_inference_steps=10))
        ).mean()
        for strength in (0.2, 1.0)
    )

    assert near < far


def test_the_picture_is_its_own_mask(painter: GetPainter, tmp_path: Path) -> None:
    """Without a mask the transparent part of the picture itself is where to edit, and becomes opaque."""
    picture = with_hole(noise(), left=10, top=10, right=50, bottom=50)

    (output,) = paint(painter("sd1"), images=(saved(picture, tmp_path / "image.png"),))

    result = decoded(output.data)
    hole = pixels_of(picture, "RGBA")[..., 3] == 0
    assert result.mode == "RGBA" or not output.is_transparent
    assert (pixels_of(result)[~hole] == pixels_of(picture)[~hole]).all()
    assert (pixels_of(result)[20:40, 20:40] != pixels_of(picture)[20:40, 20:40]).any()


def test_hidden_colours_are_not_seen(painter: GetPainter, tmp_path: Path) -> None:
    """What an editor left under transparency has no influence on what is drawn."""
    results = []
    for colour in ("black", "magenta"):
        picture = Image.new("RGB", (64, 64), "green")
        picture.paste(colour, (16, 16, 48, 48))
        holed = with_hole(picture, left=16, top=16, right=48, bottom=48)
        results.append(only(paint(painter("sd1"), images=(saved(holed, tmp_path / f"{colour}.png"),))))

    assert (results[0] == results[1])[22:42, 22:42].all()


def test_another_size_crops_the_original(painter: GetPainter, tmp_path: Path) -> None:
    """An edit at another size protects the picture as it is at that size."""
    picture = Image.new("RGB", (80, 40), (1, 2, 3))
    mask = with_hole(picture, left=40, top=10, right=60, bottom=30)

    result = only(
        paint(
            painter("sd1"),
            size=(60, 60),
            images=(saved(picture, tmp_path / "image.png"),),
            mask=saved(mask, tmp_path / "mask.png"),
        )
    )

    assert result.shape == (60, 60, 3)
    assert (result[:10] == (1, 2, 3)).all()
    assert (result[25:35, 40:50] != (1, 2, 3)).any()


def test_further_pictures_are_looked_at(painter: GetPainter, tmp_path: Path) -> None:
    """The picture beside the first has an influence on it, and only the first is given back."""
    first = saved(noise(), tmp_path / "first.png")
    others = [saved(Image.new("RGB", (50, 70), colour), tmp_path / f"{colour}.png") for colour in ("red", "blue")]

    results = [only(paint(painter("flux"), images=(first, other), strength=0.75)) for other in others]

    assert results[0].shape == (80, 80, 3)
    assert (results[0] != results[1]).any()


def test_masks_apply_to_the_first_picture(painter: GetPainter, tmp_path: Path) -> None:
    """With several pictures, too, nothing outside the mask changes."""
    picture = noise(100, 80)
    mask = with_hole(picture, left=30, top=20, right=60, bottom=40)
    images = (saved(picture, tmp_path / "image.png"), *[saved(noise(seed=5), tmp_path / "other.png")] * 3)

    result = only(paint(painter("sdxl"), images=images, mask=saved(mask, tmp_path / "mask.png")))

    hole = pixels_of(mask, "RGBA")[..., 3] == 0
    assert (result[~hole] == pixels_of(picture)[~hole]).all()
    assert (result[hole] != pixels_of(picture)[hole]).any()


def test_transparency(painter: GetPainter) -> None:
    """A model that draws transparency gives it if it is asked to, in a format that has it, and not otherwise."""
    clear, opaque, flat = (
        paint(painter("sd1-transparent"), background=background, output_format=file_format)[0]
        for background, file_format in (("transparent", "png"), ("auto", "png"), ("transparent", "jpeg"))
    )

    assert clear.is_transparent
    assert len(np.unique(pixels_of(decoded(clear.data), "RGBA")[..., 3])) > 2
    assert not opaque.is_transparent
    assert decoded(opaque.data).mode == decoded(flat.data).mode == "RGB"


def test_models_for_inpainting_only(painter: GetPainter, pipeline: Callable[[str], Pipeline], tmp_path: Path) -> None:
    """A model that was made for masks draws nothing from words alone; without one all of a picture is open."""
    path = saved(noise(), tmp_path / "image.png")

    assert not pipeline("sd1-inpainting").info.can_generate
    assert only(paint(painter("sd1-inpainting"), images=(path,))).shape == (80, 80, 3)


def test_usage(painter: GetPainter) -> None:
    """Usage counts the tokens of the prompt and the blocks that were drawn, before any enlarging."""
    (output,) = paint(painter("sd1"), prompt="abc", size=(1024, 1024))

    assert output.usage is not None
    assert (output.usage.num_text_tokens, output.usage.num_input_blocks, output.usage.num_output_blocks) == (5, 0, 16)


@pytest.mark.parametrize("family", FAMILIES)
def test_work_ends_at_the_step_after_the_cancellation(painter: GetPainter, family: str) -> None:
    """What the check raises comes out at once: no step is done after it."""
    num_steps = 0

    class Gone(Exception):
        pass

    def check() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 3:
            raise Gone

    with pytest.raises(Gone):
        painter(family).paint(ImageParams(prompt="", seeds=(1,), num_inference_steps=50), lambda _output: None, check)

    assert num_steps == 3


@pytest.mark.parametrize(("quality", "expected"), [("low", 20), ("medium", 30), ("high", 50)])
def test_quality_is_steps(painter: GetPainter, quality: Any, expected: int) -> None:
    """Quality decides on the number of steps."""
    steps: list[None] = []
    params = ImageParams(prompt="", seeds=(1,), quality=quality)

    painter("sd1").paint(params, lambda _output: None, lambda: steps.append(None))

    assert len(steps) == expected


def test_models_of_few_steps(pipeline: Callable[[str], Pipeline]) -> None:
    """A model that is distilled to a few steps gets only a few."""
    assert pipeline("flux").num_inference_steps("medium") == 4


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    """Weights that are not safetensors are never read."""
    folder = build_image_model(tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))

    with pytest.raises(ModelLoadError):
        Pipeline(folder)
