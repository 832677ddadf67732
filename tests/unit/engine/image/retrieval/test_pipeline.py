"""The embedded model's kind through the pipeline that serves every other model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from openhearth.engine.image.drawing import Drawing
from openhearth.engine.image.pipeline import Pipeline, Step
from openhearth.engine.image.retrieval.guide import reframed
from tests.retrieval_model import NATIVE_SIZE

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of their own ways

SIZE = (NATIVE_SIZE, NATIVE_SIZE)


def drawing(prompt: str = "a red apple", **changes: Any) -> Drawing:
    """Return a small drawing."""
    plain = Drawing(prompt=prompt, seeds=[1], size=SIZE, num_inference_steps=3, guidance_scale=None)
    return replace(plain, **changes)


def draw(pipeline: Pipeline, what: Drawing) -> list[Any]:
    """Return the pixels of each image."""
    return [np.asarray(image, np.int16) for image in pipeline.draw(what, lambda step: None)]


def test_what_it_can_do(pipeline: Pipeline) -> None:
    """It draws and edits at its own size, in cells of 16 pixels, with alpha."""
    assert pipeline.info.native_size == NATIVE_SIZE
    assert pipeline.info.can_generate
    assert pipeline.info.can_edit
    assert pipeline.info.has_transparency
    assert pipeline.cell == 16


def test_a_seed_is_an_image(pipeline: Pipeline) -> None:
    """The same seed draws the same pixels, alone or in a batch; another seed draws others."""
    first, second = draw(pipeline, drawing(seeds=[1, 2]))
    (alone,) = draw(pipeline, drawing(seeds=[2]))

    assert first.shape == (*SIZE, 4)
    assert np.abs(second - alone).max() <= 1
    assert np.abs(first - second).max() > 10


@pytest.mark.parametrize("prompt", ["a blue square", "two red apples", "a red apple above a blue square"])
def test_the_prompt_counts(pipeline: Pipeline, prompt: str) -> None:
    """Another prompt, the same seed: another picture."""
    (apple,), (other,) = draw(pipeline, drawing()), draw(pipeline, drawing(prompt))

    assert np.abs(apple - other).max() > 10


def test_guidance_can_be_turned_off(pipeline: Pipeline) -> None:
    """Without guidance the network is asked only once a step, and shown the same."""
    (plain,), (guided,) = draw(pipeline, drawing(guidance_scale=1.0)), draw(pipeline, drawing(guidance_scale=6.0))

    assert np.abs(plain - guided).max() > 1


def test_transparency_is_part_of_the_prompt(pipeline: Pipeline) -> None:
    """Who asks for a transparent background is understood as if the prompt said so."""
    (asked,) = draw(pipeline, drawing(is_transparent=True))
    (said,) = draw(pipeline, drawing("a red apple on a transparent background"))

    assert (asked == said).all()


def test_every_step_has_a_preview(pipeline: Pipeline) -> None:
    """What there is so far can be looked at."""
    seen: list[tuple[int, int]] = []

    def look(step: Step) -> None:
        seen.extend(image.size for image in step.preview())

    pipeline.draw(drawing(), look)

    assert seen == [SIZE] * 3


def test_an_edit_stays_within_the_mask(pipeline: Pipeline) -> None:
    """Cells outside the mask are what the autoencoder makes of the picture, whatever is drawn inside."""
    picture = Image.effect_noise(SIZE, 60).convert("RGB")
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).rectangle((0, 0, 31, 31), fill=255)

    (apple,) = draw(pipeline, drawing(picture=picture, mask=mask))
    (square,) = draw(pipeline, drawing("a blue square", picture=picture, mask=mask))

    assert np.abs(apple - square)[:16, :16].max() > 10
    assert np.abs(apple - square)[48:, 48:].max() <= 1


def test_a_picture_can_be_varied_without_words(pipeline: Pipeline) -> None:
    """Without a prompt the picture itself is what is shown to the network, framed anew for each seed."""
    light, dark = (Image.new("RGB", SIZE, colour) for colour in ("white", "black"))
    noise = Image.effect_noise(SIZE, 60).convert("RGB")

    (bright,) = draw(pipeline, drawing("", picture=light, strength=1.0))
    (dim,) = draw(pipeline, drawing("", picture=dark, strength=1.0))
    first, second = (reframed(noise, seed) for seed in (1, 2))

    assert np.abs(bright - dim).max() > 10
    assert first.size == second.size == SIZE
    assert first.tobytes() == reframed(noise, 1).tobytes() != second.tobytes()


def test_an_edit_sees_what_is_around(pipeline: Pipeline) -> None:
    """Where nothing is said of the background, the picture is; where something is, that counts."""
    light, dark = (Image.new("RGB", SIZE, colour) for colour in ("white", "black"))

    on_light, on_dark = (draw(pipeline, drawing(picture=picture, strength=1.0))[0] for picture in (light, dark))
    green = "a red apple on a green background"
    said, again = (draw(pipeline, drawing(green, picture=picture, strength=1.0))[0] for picture in (light, dark))

    assert np.abs(on_light - on_dark).mean() > 10
    assert np.abs(said - again).mean() < np.abs(on_light - on_dark).mean() / 4


def test_qualities_take_few_steps(pipeline: Pipeline) -> None:
    """Low, medium and high take 8, 16 and 24 steps."""
    assert [pipeline.num_inference_steps(quality) for quality in ("low", "medium", "high")] == [8, 16, 24]
