"""Images, as the official client sees them, drawn by a tiny model of random weights."""

import asyncio
import base64
import re
import struct
import time
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from openai import (
    APIError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    OpenAI,
    RateLimitError,
    omit,
)

from openhearth.catalog.catalog import Catalog
from openhearth.catalog.progress import LoggedProgress
from openhearth.engine.base import ImageEngineStats, ImageModelInfo, ImageOutput, ImageParams, PictureInfo
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.image.pictures import inspect_picture
from openhearth.engine.registry import load_image_engine
from tests.image_models import build_image_model
from tests.pictures import decoded, encoded, noise, pixels_of, with_hole
from tests.servers import RunningServer, make_settings, run_server

pytestmark = pytest.mark.filterwarnings("ignore")  # Building the models, diffusers and transformers warn of their ways.

TINY, TRANSPARENT, INPAINTING = "tiny-sd", "tiny-transparent", "tiny-inpainting"
QUICK = {"num_inference_steps": 2}
ENDLESS = {"num_inference_steps": 900}
SQUARE = noise(64, 64)
HOLED = with_hole(SQUARE, left=16, top=16, right=48, bottom=48)


def load(path: Path) -> Any:
    """Load an image engine that leaves the processor to the tests."""
    return load_image_engine(path, ImageEngineConfig(max_waiting_requests=1, num_threads=1))


@pytest.fixture(scope="module")
def images_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server with three image models: one from a folder anywhere, two among the models."""
    root = tmp_path_factory.mktemp("images")
    settings = make_settings(root, image_model=TINY)
    build_image_model(settings.models / TRANSPARENT, "sd1-transparent")
    build_image_model(settings.models / INPAINTING, "sd1-inpainting")
    catalog = Catalog(settings.models, aliases={}, configured=[])
    catalog.pull(str(build_image_model(root / TINY)), LoggedProgress())
    with run_server(settings, FakeTextEngine(), load_image_engine=load) as running:
        yield running


@pytest.fixture
def artist(images_server: RunningServer) -> Iterator[OpenAI]:
    """Give the official client."""
    with images_server.client() as client:
        yield client


@pytest.fixture
def web(images_server: RunningServer) -> Iterator[httpx2.Client]:
    """Give a plain HTTP client."""
    with httpx2.Client(base_url=images_server.url, timeout=60) as client:
        yield client


def generate(client: OpenAI, **params: Any) -> Any:
    """Ask for a picture of two steps."""
    extra = QUICK | params.pop("extra_body", {})
    return client.images.generate(**({"prompt": "a cat", "model": TINY} | params), extra_body=extra)


def edit(client: OpenAI, **params: Any) -> Any:
    """Ask for an edit of two steps."""
    extra = QUICK | params.pop("extra_body", {})
    defaults = {"prompt": "a cat", "model": TINY, "image": png(HOLED)}
    return client.images.edit(**(defaults | params), extra_body=extra)


def vary(client: OpenAI, **params: Any) -> Any:
    """Ask for a variation of four steps."""
    extra = {"num_inference_steps": 4} | params.pop("extra_body", {})
    return client.images.create_variation(**({"image": png(SQUARE), "model": "dall-e-2"} | params), extra_body=extra)


def png(picture: Any) -> tuple[str, bytes]:
    """Return a picture as a file to send."""
    return "picture.png", encoded(picture)


def image_of(response: Any, index: int = 0) -> Any:
    """Return an image of a response that is in base64."""
    return decoded(base64.b64decode(response.data[index].b64_json))


def refusal(call: Any, client: OpenAI, **params: Any) -> tuple[str | None, str | None]:
    """Return param and code of the 400 that a request gets."""
    with pytest.raises(BadRequestError) as caught:
        call(client, **params)
    assert caught.value.type == "invalid_request_error"
    return caught.value.param, caught.value.code


class TestGenerations:
    """`client.images.generate`."""

    def test_dall_e_2(self, artist: OpenAI, web: httpx2.Client) -> None:
        """Under the name dall-e-2 an answer is a time and links, which serve a PNG of 1024 squared."""
        before = int(time.time())

        response = generate(artist, model="dall-e-2")

        assert sorted(response.to_dict()) == ["created", "data"]
        assert before <= response.created <= time.time()
        answer = web.get(response.data[0].url)
        assert answer.headers["content-type"] == "image/png"
        assert decoded(answer.content).size == (1024, 1024)

    def test_dall_e_3(self, artist: OpenAI, web: httpx2.Client) -> None:
        """Under the name dall-e-3 styles are words that are added to the prompt, and the answer tells them."""
        responses = [
            generate(artist, model="dall-e-3", size="1792x1024", extra_body={"seed": 1}, **style)
            for style in ({}, {"style": "vivid"}, {"style": "natural"})
        ]

        prompts = [response.data[0].revised_prompt for response in responses]
        assert prompts[0] == prompts[1] != prompts[2]
        assert all(prompt.startswith("a cat, ") for prompt in prompts)
        files = [web.get(response.data[0].url).content for response in responses]
        assert files[0] == files[1] != files[2]
        assert decoded(files[0]).size == (1792, 1024)

    def test_gpt_image(self, artist: OpenAI) -> None:
        """Under a name of the GPT image models the answer describes itself, usage included."""
        response = generate(artist, model="gpt-image-1", size="1536x1024", quality="high", output_format="webp", n=2)

        assert [image_of(response, index).size for index in range(2)] == [(1536, 1024)] * 2
        assert image_of(response).format == "WEBP"
        assert (response.size, response.quality, response.background) == ("1536x1024", "high", "opaque")
        assert response.output_format == "webp"
        assert response.usage.to_dict() == {
            "input_tokens": 6,
            "output_tokens": 40,
            "total_tokens": 46,
            "input_tokens_details": {"text_tokens": 6, "image_tokens": 0},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": 40},
        }

    def test_defaults_without_a_model(self, artist: OpenAI) -> None:
        """Without a model's name a request is one for dall-e-2, or for a GPT image model if only those take it."""
        assert generate(artist, model=omit).data[0].url
        assert generate(artist, model=omit, output_format="png").data[0].b64_json

    def test_size_is_the_models_own(self, artist: OpenAI) -> None:
        """Without a size, or with auto, an image has the size the model was made for."""
        assert image_of(generate(artist)).size == image_of(generate(artist, size="auto")).size == (64, 64)

    @pytest.mark.parametrize("size", ["16x16", "100x37", "301x120"])
    def test_sizes_are_exact(self, artist: OpenAI, size: str) -> None:
        """A model of one's own draws at any size, exactly."""
        response = generate(artist, size=size)

        assert f"{image_of(response).width}x{image_of(response).height}" == response.size == size

    @pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
    def test_formats(self, artist: OpenAI, file_format: Any) -> None:
        """Images come in the format that was asked for."""
        response = generate(artist, output_format=file_format)

        assert image_of(response).format.lower() == response.output_format == file_format

    def test_compression(self, artist: OpenAI) -> None:
        """More compression makes smaller files."""
        sizes = [
            len(
                generate(artist, output_format="jpeg", output_compression=level, extra_body={"seed": 3})
                .data[0]
                .b64_json
            )
            for level in (10, 100)
        ]

        assert sizes[0] < sizes[1]

    def test_seeds(self, artist: OpenAI) -> None:
        """Every image comes with its seed, which draws it again, alone and to within one step of 255."""
        batch = generate(artist, n=3, extra_body={"seed": 41})
        alone = generate(artist, extra_body={"seed": batch.data[2].seed})

        assert [image.seed for image in batch.data] == [41, 42, 43]
        difference = pixels_of(image_of(batch, 2)).astype(int) - pixels_of(image_of(alone))
        assert np.abs(difference).max() <= 1
        assert generate(artist, extra_body={"seed": 43}).data[0].b64_json == alone.data[0].b64_json

    def test_seeds_differ_by_themselves(self, artist: OpenAI) -> None:
        """Without a seed no two requests get the same image."""
        assert generate(artist).data[0].b64_json != generate(artist).data[0].b64_json

    def test_transparent_background(self, artist: OpenAI) -> None:
        """A model that draws transparency gives it when it is asked to."""
        response = generate(artist, model=TRANSPARENT, background="transparent")

        assert response.background == "transparent"
        assert image_of(response).mode == "RGBA"
        assert generate(artist, model=TRANSPARENT).background == "opaque"

    @pytest.mark.parametrize("response_format", ["url", "b64_json"])
    def test_response_format(self, artist: OpenAI, response_format: Any) -> None:
        """Links or base64, as asked for, for every model that has the choice."""
        for model in ("dall-e-2", "dall-e-3", TINY):
            image = generate(artist, model=model, response_format=response_format).data[0]
            assert (image.url is not None, image.b64_json is not None) == (
                response_format == "url",
                response_format == "b64_json",
            )

    async def test_async_client(self, images_server: RunningServer) -> None:
        """The asynchronous client gets the same."""
        async with images_server.async_client() as client:
            response = await client.images.generate(prompt="a cat", model=TINY, extra_body=QUICK)

        assert image_of(response).size == (64, 64)

    @pytest.mark.parametrize(
        ("params", "param", "code"),
        [
            ({"prompt": ""}, "prompt", "empty_string"),
            ({"model": "dall-e-2", "prompt": "x" * 1001}, "prompt", "string_above_max_length"),
            ({"model": "dall-e-3", "prompt": "x" * 4001}, "prompt", "string_above_max_length"),
            ({"model": "gpt-image-1", "prompt": "x" * 32_001}, "prompt", "string_above_max_length"),
            ({"n": 0}, "n", "integer_below_min_value"),
            ({"n": 11}, "n", "integer_above_max_value"),
            ({"model": "dall-e-3", "n": 2}, "n", "integer_above_max_value"),
            ({"model": "dall-e-2", "size": "1792x1024"}, "size", "invalid_value"),
            ({"model": "dall-e-2", "size": "auto"}, "size", "invalid_value"),
            ({"model": "dall-e-3", "size": "256x256"}, "size", "invalid_value"),
            ({"model": "gpt-image-1", "size": "512x512"}, "size", "invalid_value"),
            ({"model": "gpt-image-2", "size": "1000x1000"}, "size", "invalid_value"),
            ({"model": "gpt-image-2", "size": "4096x2048"}, "size", "invalid_value"),
            ({"model": "gpt-image-2", "size": "800x800"}, "size", "invalid_value"),
            ({"size": "1024"}, "size", "invalid_value"),
            ({"size": "0x64"}, "size", "invalid_value"),
            ({"size": "8x64"}, "size", "invalid_value"),
            ({"size": "400x100"}, "size", "invalid_value"),
            ({"size": "99999x99999"}, "size", "invalid_value"),
            ({"model": "dall-e-2", "quality": "hd"}, "quality", "invalid_value"),
            ({"model": "dall-e-3", "quality": "high"}, "quality", "invalid_value"),
            ({"model": "gpt-image-1", "quality": "hd"}, "quality", "invalid_value"),
            ({"quality": "best"}, "quality", "invalid_value"),
            ({"model": "dall-e-2", "style": "vivid"}, "style", "unsupported_parameter"),
            ({"model": "gpt-image-1", "style": "vivid"}, "style", "unsupported_parameter"),
            ({"style": "vivid"}, "style", "unsupported_parameter"),
            ({"model": "dall-e-3", "style": "loud"}, "style", "invalid_value"),
            ({"model": "gpt-image-1", "response_format": "url"}, "response_format", "unsupported_parameter"),
            ({"response_format": "gif"}, "response_format", "invalid_value"),
            ({"model": "dall-e-2", "background": "opaque"}, "background", "unsupported_parameter"),
            ({"model": "dall-e-3", "output_format": "png"}, "output_format", "unsupported_parameter"),
            ({"model": "dall-e-2", "stream": True}, "stream", "unsupported_parameter"),
            ({"model": "dall-e-3", "moderation": "low"}, "moderation", "unsupported_parameter"),
            ({"background": "transparent"}, "background", "unsupported_parameter"),
            ({"background": "transparent", "output_format": "jpeg"}, "background", "invalid_value"),
            ({"output_compression": 50}, "output_compression", "invalid_value"),
            ({"output_compression": 101, "output_format": "jpeg"}, "output_compression", "integer_above_max_value"),
            ({"output_format": "gif"}, "output_format", "invalid_value"),
            ({"partial_images": 2}, "partial_images", "invalid_value"),
            ({"partial_images": 4, "stream": True}, "partial_images", "integer_above_max_value"),
            ({"extra_body": {"seed": -1}}, "seed", "integer_below_min_value"),
            ({"extra_body": {"num_inference_steps": 0}}, "num_inference_steps", "integer_below_min_value"),
            ({"extra_body": {"colour": "red"}}, "colour", "unknown_parameter"),
            ({"model": INPAINTING}, "model", "invalid_value"),
        ],
    )
    def test_rules(self, artist: OpenAI, params: dict[str, Any], param: str, code: str) -> None:
        """Whatever the named model does not take is refused by name."""
        assert refusal(generate, artist, **params) == (param, code)

    def test_words_for_sizes(self, artist: OpenAI) -> None:
        """A size that the model does not have is refused in the service's own words."""
        with pytest.raises(BadRequestError) as caught:
            generate(artist, model="dall-e-2", size="1536x1024")

        assert caught.value.body["message"] == (  # type: ignore[index]
            "Invalid value: '1536x1024'. Supported values are: '256x256', '512x512', and '1024x1024'."
        )

    def test_prompt_is_needed(self, web: httpx2.Client) -> None:
        """A request without a prompt is refused."""
        response = web.post("/v1/images/generations", json={"model": TINY})

        assert response.json()["error"]["code"] == "missing_required_parameter"

    def test_null_is_the_default(self, artist: OpenAI, web: httpx2.Client) -> None:
        """Every optional parameter may be null."""
        names = ("n", "size", "quality", "response_format", "output_format", "output_compression", "stream", "seed")

        response = web.post(
            "/v1/images/generations", json={"model": TINY, "prompt": "a cat"} | QUICK | dict.fromkeys(names)
        )

        assert response.status_code == 200

    @pytest.mark.parametrize("model", ["fake-model", "no-such-model"])
    def test_other_models(self, artist: OpenAI, model: str) -> None:
        """A name that no image model has is a 404."""
        with pytest.raises(NotFoundError) as caught:
            generate(artist, model=model)

        assert caught.value.code == "model_not_found"

    @pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "gpt-image-1"])
    def test_without_an_image_model(self, client: OpenAI, model: str) -> None:
        """A server without an image model says how to get one."""
        with pytest.raises(NotFoundError, match="OPENHEARTH_IMAGE_MODEL") as caught:
            generate(client, model=model)

        assert caught.value.code == "model_not_found"

    def test_without_the_libraries(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server without the images extra says what to install."""
        monkeypatch.setattr("openhearth.engine.registry.find_spec", lambda _library: None)
        settings = make_settings(tmp_path)
        build_image_model(settings.models / TINY)
        with (
            run_server(settings, FakeTextEngine(), load_image_engine=load) as server,
            server.client() as client,
            pytest.raises(InternalServerError, match=r"pip install 'openhearth\[images\]'") as caught,
        ):
            generate(client)

        assert caught.value.status_code == 503


class TestStreams:
    """Images as events."""

    @pytest.mark.parametrize("num_partial_images", [0, 1, 2, 3])
    def test_events(self, artist: OpenAI, num_partial_images: int) -> None:
        """Previews come in order, then the image with its usage; each event has its type and all its members."""
        events = list(
            generate(
                artist,
                stream=True,
                partial_images=num_partial_images,
                output_format="jpeg",
                extra_body={"num_inference_steps": 8, "seed": 5},
            )
        )

        assert [event.type for event in events] == [
            *["image_generation.partial_image"] * num_partial_images,
            "image_generation.completed",
        ]
        assert [event.partial_image_index for event in events[:-1]] == list(range(num_partial_images))
        for event in events:
            assert decoded(base64.b64decode(event.b64_json)).format == "JPEG"
            assert (event.size, event.quality, event.background, event.output_format) == (
                "64x64",
                "medium",
                "opaque",
                "jpeg",
            )
            assert event.created_at <= time.time()
        assert events[-1].usage.total_tokens == 6 + 16
        assert events[-1].seed == 5

    def test_every_image_has_its_event(self, artist: OpenAI) -> None:
        """Of several images each is completed."""
        events = list(generate(artist, stream=True, n=3, extra_body={"seed": 1}))

        assert [event.seed for event in events] == [1, 2, 3]

    def test_edits(self, artist: OpenAI) -> None:
        """Edits have event types of their own."""
        events = list(edit(artist, stream=True, partial_images=1))

        assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]

    def test_frames(self, web: httpx2.Client) -> None:
        """An event is a line with its type, a line with its data, and an empty line; the last event is an image."""
        response = web.post("/v1/images/generations", json={"model": TINY, "prompt": "a cat", "stream": True} | QUICK)

        assert response.headers["content-type"].startswith("text/event-stream")
        assert re.fullmatch(
            r'event: image_generation\.completed\ndata: \{"type":"image_generation\.completed".*\}\n\n', response.text
        )

    def test_refusals_have_their_status(self, artist: OpenAI) -> None:
        """What is wrong with a request is told before a stream begins."""
        assert refusal(generate, artist, stream=True, size="1x1") == ("size", "invalid_value")


class TestEdits:
    """`client.images.edit`."""

    @pytest.mark.parametrize("as_json", [False, True])
    def test_pixels_outside_the_mask(self, artist: OpenAI, web: httpx2.Client, as_json: bool) -> None:
        """What the mask does not open comes back to the bit; what it opens is drawn anew."""
        picture = noise(100, 60)
        mask = with_hole(picture, left=20, top=10, right=70, bottom=40)
        if as_json:
            body = {"images": [{"image_url": data_url(picture)}], "mask": {"image_url": data_url(mask)}}
            answer = web.post("/v1/images/edits", json=body | {"prompt": "a cat", "model": TINY} | QUICK)
            result = decoded(base64.b64decode(answer.json()["data"][0]["b64_json"]))
        else:
            result = image_of(edit(artist, image=png(picture), mask=png(mask)))

        hole = pixels_of(mask, "RGBA")[..., 3] == 0
        assert result.size == (100, 60)
        assert (pixels_of(result)[~hole] == pixels_of(picture)[~hole]).all()
        assert (pixels_of(result)[hole] != pixels_of(picture)[hole]).mean() > 0.5

    def test_dall_e_2_uses_the_transparency_of_the_image(self, artist: OpenAI, web: httpx2.Client) -> None:
        """Without a mask the image's own transparency is where to edit."""
        response = edit(artist, model="dall-e-2", size="256x256", image=png(HOLED.resize((256, 256), 0)))

        result = pixels_of(decoded(web.get(response.data[0].url).content))
        hole = pixels_of(HOLED.resize((256, 256), 0), "RGBA")[..., 3] == 0
        assert (result[~hole] == pixels_of(HOLED.resize((256, 256), 0))[~hole]).all()
        assert (result[hole] != pixels_of(HOLED.resize((256, 256), 0))[hole]).any()

    def test_whole_pictures(self, artist: OpenAI) -> None:
        """A picture without transparency is changed as a whole, less so with high fidelity."""
        results = [
            image_of(
                edit(
                    artist,
                    model="gpt-image-1",
                    size="auto",
                    image=png(SQUARE),
                    input_fidelity=fidelity,
                    extra_body={"seed": 1, "num_inference_steps": 8},
                )
            )
            for fidelity in ("low", "high")
        ]

        assert [result.size for result in results] == [(64, 64)] * 2
        assert (pixels_of(results[0]) != pixels_of(results[1])).any()

    @pytest.mark.parametrize("name", ["image", "image[]", "image[{}]"])
    def test_names_of_several_images(self, web: httpx2.Client, name: str) -> None:
        """Several images may come under one name, with brackets, or with numbers."""
        files = [(name.format(number), png(noise(seed=number))) for number in range(3)]
        fields = {"prompt": "a cat", "model": TINY, "n": "1", "num_inference_steps": "2", "guidance_scale": "2.5"}

        response = web.post("/v1/images/edits", files=files, data=fields)

        assert response.status_code == 200
        assert response.json()["usage"]["input_tokens_details"]["image_tokens"] > 0

    def test_lists_of_the_client(self, artist: OpenAI) -> None:
        """The client's own way to send several images works."""
        assert image_of(edit(artist, image=[png(SQUARE), png(noise(seed=3))], mask=png(HOLED))).size == (64, 64)

    def test_formats_are_told_by_content(self, artist: OpenAI) -> None:
        """JPEG and WebP can be edited too, whatever the file is called."""
        for file_format in ("JPEG", "WEBP"):
            assert image_of(edit(artist, image=("upload", encoded(SQUARE, file_format)))).size == (64, 64)

    def test_booleans_are_text(self, web: httpx2.Client) -> None:
        """In a form, true and false are words."""
        fields = {"prompt": "a cat", "model": TINY, "stream": "false", "num_inference_steps": "2"}

        response = web.post("/v1/images/edits", files=[("image", png(SQUARE))], data=fields)

        assert response.headers["content-type"] == "application/json"

    def test_files_of_the_project(self, artist: OpenAI, web: httpx2.Client) -> None:
        """A picture that was uploaded before is named by its id."""
        file = artist.files.create(file=png(HOLED), purpose="vision")

        response = web.post(
            "/v1/images/edits",
            json={"images": [{"file_id": file.id}], "prompt": "a cat", "model": TINY} | QUICK,
        )

        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("reference", "param"),
        [
            ({}, "images[0]"),
            ({"image_url": "data:image/png;base64,", "file_id": "file-x"}, "images[0]"),
            ({"image_url": "http://127.0.0.1/secret"}, "images[0].image_url"),
            ({"image_url": "https://example.com/a.png"}, "images[0].image_url"),
            ({"image_url": "file:///etc/passwd"}, "images[0].image_url"),
            ({"image_url": "data:image/png;base64,*"}, "images[0].image_url"),
            ({"image_url": "data:image/png,abc"}, "images[0].image_url"),
            ({"image_url": "data:image/png;base64,aGVsbG8="}, "images[0]"),
            ({"url": "x"}, "images[0].url"),
        ],
    )
    def test_references(self, web: httpx2.Client, reference: dict[str, str], param: str) -> None:
        """A reference to anything but a data URL or a file is refused; nothing is fetched from the web."""
        response = web.post("/v1/images/edits", json={"images": [reference], "prompt": "a cat", "model": TINY})

        assert response.status_code == 400
        assert response.json()["error"]["param"] == param

    @pytest.mark.parametrize(
        ("members", "param"),
        [
            ({"model": "dall-e-2"}, "model"),
            ({"size": "256x256"}, "size"),  # without a model, the rules of the GPT image models
            ({"response_format": "url"}, "response_format"),
            ({"prompt": ""}, "prompt"),
            ({"prompt": "x" * 32_001}, "prompt"),
            ({"images": []}, "images"),
            ({"images": [{"image_url": "data:image/png;base64,"}] * 17}, "images"),
            ({"images": [{"image_url": "data:image/png;base64,", "detail": "low"}]}, "images[0].detail"),
            ({"markup": "x"}, "markup"),
        ],
    )
    def test_rules_of_json(self, web: httpx2.Client, members: dict[str, Any], param: str) -> None:
        """A JSON body is for the GPT image models, and holds its own rules."""
        body = {"images": [{"image_url": data_url(SQUARE)}], "prompt": "a cat"} | members

        response = web.post("/v1/images/edits", json=body)

        assert response.status_code == 400
        assert response.json()["error"]["param"] == param

    def test_json_without_a_model(self, web: httpx2.Client) -> None:
        """A JSON body that names no model is answered as the GPT image models answer."""
        body = {"images": [{"image_url": data_url(SQUARE)}], "prompt": "a cat", "size": "auto"}

        answer = web.post("/v1/images/edits", json=body | QUICK)

        assert answer.status_code == 200
        assert set(answer.json()) >= {"created", "data", "usage", "quality", "size"}

    def test_unknown_files(self, web: httpx2.Client) -> None:
        """A file that is not there is a 404."""
        body = {"images": [{"file_id": "file-unknown"}], "prompt": "a cat", "model": TINY}

        assert web.post("/v1/images/edits", json=body).status_code == 404

    @pytest.mark.parametrize(
        ("params", "param", "code"),
        [
            ({"image": ("a.jpg", encoded(SQUARE, "JPEG")), "model": "dall-e-2"}, "image", "invalid_value"),
            ({"image": png(noise(64, 32)), "model": "dall-e-2"}, "image", "invalid_value"),
            ({"image": ("a.png", encoded(noise(1200, 1200))), "model": "dall-e-2"}, "image", "invalid_value"),
            ({"image": [png(HOLED), png(HOLED)], "model": "dall-e-2"}, "image", "invalid_value"),
            ({"image": png(SQUARE), "model": "dall-e-2"}, "mask", "missing_required_parameter"),
            ({"mask": ("m.jpg", encoded(SQUARE, "JPEG")), "model": "dall-e-2"}, "mask", "invalid_value"),
            ({"mask": png(noise(32, 32))}, "mask", "invalid_value"),
            ({"mask": png(SQUARE)}, "mask", "invalid_value"),
            ({"mask": png(SQUARE.convert("RGBA"))}, "mask", "invalid_value"),
            ({"image": ("a.png", b"no picture")}, "image", "invalid_image"),
            ({"image": ("a.png", encoded(SQUARE)[:-500])}, "image", "invalid_image"),
            ({"image": [png(SQUARE)] * 17}, "image", "array_above_max_length"),
            ({"model": "dall-e-3"}, "model", "invalid_value"),
            ({"model": "dall-e-2", "prompt": "x" * 1001}, "prompt", "string_above_max_length"),
            ({"model": "dall-e-2", "size": "1536x1024"}, "size", "invalid_value"),
            ({"model": "dall-e-2", "input_fidelity": "high"}, "input_fidelity", "unsupported_parameter"),
            ({"model": "gpt-image-1-mini", "input_fidelity": "high"}, "input_fidelity", "invalid_value"),
            ({"model": "gpt-image-2", "input_fidelity": "low"}, "input_fidelity", "unsupported_parameter"),
            ({"background": "transparent"}, "background", "unsupported_parameter"),
            ({"prompt": ""}, "prompt", "empty_string"),
            ({"n": 11}, "n", "integer_above_max_value"),
        ],
    )
    def test_rules(self, artist: OpenAI, params: dict[str, Any], param: str, code: str) -> None:
        """Every rule on pictures and parameters is checked by name."""
        assert refusal(edit, artist, **params) == (param, code)

    def test_bombs(self, artist: OpenAI) -> None:
        """A few kilobytes that claim to be gigapixels are refused by their header."""
        assert refusal(edit, artist, image=("bomb.png", bomb(40_000, 40_000))) == ("image", "invalid_image")
        assert refusal(edit, artist, image=png(SQUARE), mask=("bomb.png", bomb(64, 400_000_000))) == (
            "mask",
            "invalid_image",
        )

    def test_images_are_needed(self, web: httpx2.Client) -> None:
        """A form without an image, and one with text in its place, are refused."""
        missing = web.post("/v1/images/edits", files={"mask": png(HOLED)}, data={"prompt": "a cat", "model": TINY})
        text = web.post("/v1/images/edits", files={"mask": png(HOLED)}, data={"prompt": "a cat", "image": "text"})

        assert missing.json()["error"]["code"] == "missing_required_parameter"
        assert text.json()["error"]["code"] == "invalid_type"

    def test_wrong_numbers(self, web: httpx2.Client) -> None:
        """Text that is no number is refused where a number has to be."""
        response = web.post("/v1/images/edits", files={"image": png(HOLED)}, data={"prompt": "a cat", "n": "two"})

        assert (response.json()["error"]["param"], response.json()["error"]["code"]) == ("n", "invalid_type")

    @pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
    def test_broken_json(self, web: httpx2.Client, content: bytes) -> None:
        """A JSON body that is none is refused."""
        response = web.post("/v1/images/edits", content=content, headers={"content-type": "application/json"})

        assert response.status_code == 400

    def test_nothing_is_left_behind(self, artist: OpenAI, images_server: RunningServer) -> None:
        """The pictures of a request are gone when it is over, however it ends."""
        edit(artist)
        refusal(edit, artist, mask=png(SQUARE))

        assert list((images_server.settings.home / "incoming-images").iterdir()) == []


class TestVariations:
    """`client.images.create_variation`."""

    def test_variations(self, artist: OpenAI, web: httpx2.Client) -> None:
        """A variation is near its picture, and another one for each seed."""
        response = vary(artist, n=2, size="256x256")

        files = [web.get(image.url).content for image in response.data]
        assert [decoded(file).size for file in files] == [(256, 256)] * 2
        assert files[0] != files[1]

    def test_base64(self, artist: OpenAI) -> None:
        """Variations come in base64 when they are asked for so, and repeat by their seed."""
        first, second = (vary(artist, response_format="b64_json", extra_body={"seed": 2}) for _ in range(2))

        assert first.data[0].b64_json == second.data[0].b64_json
        assert image_of(first).size == (1024, 1024)

    def test_own_models(self, artist: OpenAI) -> None:
        """A model of one's own varies a picture of any shape."""
        assert image_of(vary(artist, model=TINY, image=png(noise(60, 30)))).size == (60, 30)

    @pytest.mark.parametrize(
        ("params", "param", "code"),
        [
            ({"image": png(noise(64, 32))}, "image", "invalid_value"),
            ({"image": ("a.webp", encoded(SQUARE, "WEBP"))}, "image", "invalid_value"),
            ({"image": ("a.png", b"no picture")}, "image", "invalid_image"),
            ({"model": "dall-e-3"}, "model", "invalid_value"),
            ({"model": "gpt-image-1"}, "model", "invalid_value"),
            ({"size": "1792x1024"}, "size", "invalid_value"),
            ({"n": 11}, "n", "integer_above_max_value"),
            ({"extra_body": {"prompt": "a cat"}}, "prompt", "unknown_parameter"),
        ],
    )
    def test_rules(self, artist: OpenAI, params: dict[str, Any], param: str, code: str) -> None:
        """Every rule is checked by name."""
        assert refusal(vary, artist, **params) == (param, code)


class TestLinks:
    """The links that lead to images."""

    @pytest.mark.parametrize("change", ["signature", "name", "nothing"])
    def test_only_signed_links_lead_anywhere(self, artist: OpenAI, web: httpx2.Client, change: str) -> None:
        """A link that was changed leads nowhere."""
        url = generate(artist, model="dall-e-2").data[0].url
        changed = {
            "signature": url[:-1] + ("0" if url[-1] != "0" else "1"),
            "name": url.replace("_png_", "_webp_"),
            "nothing": url,
        }[change]

        assert web.get(changed).status_code == (200 if change == "nothing" else 404)

    def test_links_need_no_key(self, tmp_path: Path) -> None:
        """Whoever has a link needs no key, and no link leads out of the folder of images."""
        with run_server(make_settings(tmp_path), FakeTextEngine()) as server:
            for path in ("/images/..%2Fopenhearth.db", "/images/img_1_png_00?signature=0", "/images/x"):
                assert httpx2.get(f"{server.url}{path}").status_code == 404


class SleepingEngine:
    """An `ImageEngine` that shows a preview and falls asleep."""

    info = ImageModelInfo(native_size=64, can_generate=True, can_edit=True, has_transparency=False)

    def __init__(self) -> None:
        self.num_running = 0

    async def inspect(self, picture: Path) -> PictureInfo:
        """Say what a picture is."""
        return inspect_picture(picture)

    async def generate(self, params: ImageParams) -> AsyncGenerator[ImageOutput]:
        """Yield a preview, and nothing after it."""
        self.num_running += 1
        try:
            if params.num_partial_images:
                yield ImageOutput(index=0, data=b"", width=1, height=1, is_transparent=False, partial_index=0)
            await asyncio.Event().wait()
        finally:
            self.num_running -= 1

    def stats(self) -> ImageEngineStats:
        """Return a reading."""
        return ImageEngineStats(num_requests_running=self.num_running, num_requests_waiting=0, num_steps=0)

    async def close(self) -> None:
        """Do nothing."""


class TestTimeLimit:
    """A request that takes too long."""

    @pytest.fixture(scope="class")
    def engine(self) -> SleepingEngine:
        """Give the engine of the server."""
        return SleepingEngine()

    @pytest.fixture(scope="class")
    def sleeper(self, tmp_path_factory: pytest.TempPathFactory, engine: SleepingEngine) -> Iterator[OpenAI]:
        """Give the client of a server that has no patience."""
        settings = make_settings(tmp_path_factory.mktemp("sleeper"), image_model=TINY, request_timeout_seconds=0.3)
        build_image_model(settings.models / TINY)
        with (
            run_server(settings, FakeTextEngine(), load_image_engine=lambda _path: engine) as running,
            running.client(max_retries=2) as client,
        ):
            yield client

    @pytest.mark.parametrize("call", [generate, edit, vary])
    def test_whole(self, sleeper: OpenAI, engine: SleepingEngine, call: Any) -> None:
        """It ends with a 504 that says what to do, is not tried again, and leaves the engine."""
        with pytest.raises(InternalServerError, match="Please ask for fewer or smaller images") as caught:
            call(sleeper, model=TINY)

        assert (caught.value.status_code, caught.value.type, caught.value.code) == (
            504,
            "server_error",
            "request_timeout",
        )
        assert caught.value.request.headers["x-stainless-retry-count"] == "0"
        assert engine.num_running == 0

    def test_stream(self, sleeper: OpenAI, engine: SleepingEngine) -> None:
        """A stream that has begun ends with the error as its last event."""
        events = generate(sleeper, stream=True, partial_images=1)

        assert next(events).type == "image_generation.partial_image"
        with pytest.raises(APIError, match=r"0\.3 seconds"):
            next(events)
        assert engine.num_running == 0


class TestLoad:
    """What is told of work, and more work than there is room for."""

    def test_metrics(self, artist: OpenAI, web: httpx2.Client) -> None:
        """Images, steps, seconds and the queue are told for each model."""
        before = metrics(web)

        generate(artist, n=2, size="64x64")

        after = metrics(web)
        assert after["images_total"] - before.get("images_total", 0) == 2
        assert after["image_steps_total"] - before.get("image_steps_total", 0) in (2, 4)  # together, or one by one
        assert after["e2e_request_latency_seconds_count"] - before.get("e2e_request_latency_seconds_count", 0) == 1
        assert after["num_requests_running"] == after["num_requests_waiting"] == 0

    async def test_full_queue(self, images_server: RunningServer) -> None:
        """When the queue is full the answer is 429 with a time to wait, and whoever leaves makes room."""
        async with images_server.async_client() as client:
            stream = await client.images.generate(
                prompt="a cat", model=TINY, stream=True, partial_images=3, extra_body=ENDLESS
            )
            await anext(aiter(stream))
            waiting = asyncio.create_task(client.images.generate(prompt="a cat", model=TINY, extra_body=ENDLESS))
            response = await first_refusal(images_server)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await stream.close()

        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        with images_server.client(timeout=60) as client_after:
            while True:  # the connections that were given up are noticed one after the other
                with suppress(RateLimitError):
                    assert generate(client_after).data
                    return


async def first_refusal(server: RunningServer) -> httpx2.Response:
    """Try, with little patience, until the queue is full."""
    body = {"model": TINY, "prompt": "a cat"} | ENDLESS
    async with httpx2.AsyncClient(base_url=server.url, timeout=1) as client:
        while True:
            with suppress(httpx2.TimeoutException):
                return await client.post("/v1/images/generations", json=body)


def metrics(web: httpx2.Client) -> dict[str, float]:
    """Return the metrics of the tiny model by their names."""
    found = re.findall(rf'^openhearth:(\w+){{[^}}]*model_name="{TINY}"[^}}]*}} (\S+)$', web.get("/metrics").text, re.M)
    return {name: float(value) for name, value in found if not name.endswith("_bucket")}


def data_url(picture: Any) -> str:
    """Return a picture as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(encoded(picture)).decode()}"


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes(10**6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
