"""The default image model in a real server process, asked by the official client; weights come from `pull`."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from openai import OpenAI
from PIL import Image

from openhearth.settings import DEFAULT_IMAGE_MODEL, load_settings
from tests.acceptance.commands import Installation, serving
from tests.pictures import Pixels, decoded, encoded, pixels_of, with_hole

APPLE = "a red apple on a green meadow"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    """Give a client of a server with the default models, of which the text model is here for the start only."""
    settings = {"OPENHEARTH_MODELS": str(load_settings().models), "OPENHEARTH_IMAGE_MODEL": DEFAULT_IMAGE_MODEL}
    with (
        serving(Installation(tmp_path_factory.mktemp("images"), settings)) as server,
        server.client() as client,
    ):
        yield client


def drawn(client: OpenAI, prompt: str = APPLE, *, seed: int = 1, **params: Any) -> Image.Image:
    """Return a picture of 256x256 pixels, or as `params` say."""
    answer = client.images.generate(
        **({"model": "dall-e-2", "prompt": prompt, "size": "256x256", "response_format": "b64_json"} | params),
        extra_body={"seed": seed},
    )
    return picture_in(answer)


def picture_in(answer: Any) -> Image.Image:
    """Return the first picture of an answer."""
    return decoded(base64.b64decode(answer.data[0].b64_json))


def mean(pixels: Pixels, rows: slice, columns: slice) -> list[float]:
    """Return the mean red, green and blue of a part of a picture."""
    return [float(pixels[rows, columns, channel].mean()) for channel in range(3)]


def test_an_apple_on_a_meadow(client: OpenAI) -> None:
    """The apple is red, the ground green, the sky blue; a seed is a picture."""
    picture = drawn(client)

    pixels = pixels_of(picture)
    ground, sky = mean(pixels, slice(240, 256), slice(0, 256)), mean(pixels, slice(0, 30), slice(0, 40))
    is_red = (pixels[..., 0] > 150) & (pixels[..., 1] < 110) & (pixels[..., 2] < 130)
    assert picture.size == (256, 256)
    assert ground[1] > max(ground[0], ground[2]) + 20
    assert sky[2] > sky[0] + 20
    assert 0.08 < is_red.mean() < 0.6
    assert drawn(client).tobytes() == picture.tobytes() != drawn(client, seed=2).tobytes()


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_colours_of_things_and_of_backgrounds(client: OpenAI, colour: str, channel: int) -> None:
    """A car takes on the colour that is asked for, and so does a background."""
    car = pixels_of(drawn(client, f"a {colour} car on a white background")).astype(int)
    cat = pixels_of(drawn(client, f"a cat on a {colour} background")).astype(int)

    painted = car[car.min(-1) < 150]
    rim = np.concatenate([cat[:8].reshape(-1, 3), cat[-8:].reshape(-1, 3)])
    assert np.argmax(np.clip(painted - painted.mean(-1, keepdims=True), 0, None).mean(0)) == channel
    assert np.argmax(rim.mean(0)) == channel
    assert min(car[:8].mean(), car[-8:].mean()) > 225


@pytest.mark.parametrize(
    ("model", "size"), [("dall-e-2", "1024x1024"), ("dall-e-3", "1792x1024"), ("gpt-image-1", "1024x1536")]
)
def test_every_name_has_its_sizes(client: OpenAI, model: str, size: str) -> None:
    """Larger pictures and other shapes are as large as asked."""
    params = {} if model == "gpt-image-1" else {"response_format": "b64_json"}
    answer = client.images.generate(model=model, prompt=APPLE, size=size, **params)  # type: ignore[call-overload]

    assert "x".join(map(str, picture_in(answer).size)) == size


def test_a_link_serves_the_picture(client: OpenAI) -> None:
    """What `dall-e-2` answers without being told otherwise is a link."""
    answer = client.images.generate(model="dall-e-2", prompt=APPLE, size="256x256")

    assert answer.data is not None
    assert re.match(r"http://127\.0\.0\.1:\d+/images/", str(answer.data[0].url))
    assert decoded(httpx2.get(str(answer.data[0].url)).content).size == (256, 256)


def test_a_transparent_background(client: OpenAI) -> None:
    """What is not the teapot is clear, and what is the teapot is not."""
    answer = client.images.generate(
        model="gpt-image-1", prompt="a teapot", background="transparent", extra_body={"seed": 3}
    )
    alpha = np.asarray(picture_in(answer).getchannel("A"))

    assert alpha[:20].max() < 20
    assert (alpha > 230).mean() > 0.1


def test_an_edit_changes_the_hole_alone(client: OpenAI) -> None:
    """The hole has what the prompt says; every pixel outside is the one that was sent."""
    scene = drawn(client, "a landscape on a green meadow", seed=5).convert("RGB")
    sent = with_hole(scene, left=64, top=96, right=192, bottom=224)

    answer = client.images.edit(
        model="dall-e-2",
        image=("scene.png", encoded(sent)),
        prompt="a red balloon",
        size="256x256",
        response_format="b64_json",
        extra_body={"seed": 5},
    )

    before, after = pixels_of(scene), pixels_of(picture_in(answer))
    inside = after[96:224, 64:192].astype(int)
    is_red = (inside[..., 0] > inside[..., 1] + 60) & (inside[..., 0] > inside[..., 2] + 60)
    outside = np.asarray(sent.getchannel("A")) == 255
    assert (before[outside] == after[outside]).all()
    assert is_red.mean() > 0.1


@pytest.mark.filterwarnings("ignore:deprecated")  # by the reference, which retired them
def test_a_variation_keeps_the_subject(client: OpenAI) -> None:
    """Another picture of about the same: two variations differ, and both have the colours of the original."""
    original = drawn(client)
    answer = client.images.create_variation(
        model="dall-e-2",
        image=("apple.png", encoded(original)),
        n=2,
        size="256x256",
        response_format="b64_json",
        extra_body={"seed": 8},
    )

    assert answer.data is not None
    first, second = (pixels_of(decoded(base64.b64decode(str(each.b64_json)))).astype(int) for each in answer.data)
    colours = pixels_of(original).astype(int).mean((0, 1))
    assert np.abs(first - second).mean() > 3
    assert np.abs(first - pixels_of(original)).mean() > 3
    for varied in (first, second):
        assert np.abs(varied.mean((0, 1)) - colours).max() < 40
