"""Embeddings, as the official client sees them. The vectors of the engine without weights are told in its docstring."""

import asyncio
import base64
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    BadRequestError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)
from openai.types import CreateEmbeddingResponse

from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from tests.servers import EMBEDDING_MODEL, MODEL, RunningServer, make_settings, run_server

ADA = "text-embedding-ada-002"
SMALL = "text-embedding-3-small"


def vector(text: str, dimensions: int = 8) -> list[float]:
    """Return what the engine without weights makes of a text."""
    counts = [1 + sum(byte % 8 == place for byte in text.encode()) for place in range(8)][:dimensions]
    return [count / math.hypot(*counts) for count in counts]


def create(client: OpenAI, **params: Any) -> CreateEmbeddingResponse:
    """Ask for the vector of a word unless told otherwise."""
    return client.embeddings.create(**({"model": EMBEDDING_MODEL, "input": "hearth"} | params))


def refusal(client: OpenAI, **params: Any) -> tuple[str | None, str | None, str]:
    """Return param, code and message of the 400 that a request gets."""
    with pytest.raises(BadRequestError) as caught:
        create(client, **params)
    assert caught.value.type == "invalid_request_error"
    return caught.value.param, caught.value.code, caught.value.body["message"]  # type: ignore[index]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server whose engine takes a while for each input, and two requests at a time."""
    engine = FakeEmbeddingEngine(step_seconds=0.01, max_concurrent_requests=2)
    settings = make_settings(tmp_path_factory.mktemp("slow"))
    with run_server(settings, FakeTextEngine(), embedding_engine=engine) as running:
        yield running


class TestResponse:
    """The shape of the answer."""

    def test_members(self, client: OpenAI) -> None:
        """A response has every member the reference names, and its model's own name."""
        response = create(client, model=ADA, encoding_format="float")

        assert response.to_dict() | {"data": []} == {
            "object": "list",
            "data": [],
            "model": EMBEDDING_MODEL,
            "usage": {"prompt_tokens": 6, "total_tokens": 6},
        }
        (embedding,) = response.data
        assert (embedding.object, embedding.index) == ("embedding", 0)
        assert embedding.embedding == pytest.approx(vector("hearth"), abs=1e-6)

    def test_key_order(self, http: httpx2.Client) -> None:
        """Members come in the order in which the reference's own service sends them."""
        response = http.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": "a"})

        assert list(response.json()) == ["object", "data", "model", "usage"]
        assert list(response.json()["data"][0]) == ["object", "index", "embedding"]

    def test_headers(self, client: OpenAI) -> None:
        """The answer names the model and is not to be cached."""
        response = client.embeddings.with_raw_response.create(model=SMALL, input="a")

        assert response.headers["openai-model"] == EMBEDDING_MODEL
        assert response.headers["cache-control"] == "no-cache, must-revalidate"
        assert response.headers["content-type"] == "application/json"

    def test_length(self, client: OpenAI) -> None:
        """Vectors have the length 1."""
        assert math.hypot(*create(client).data[0].embedding) == pytest.approx(1, abs=1e-6)


class TestEncodingFormat:
    """Numbers and bytes."""

    def test_client_default(self, client: OpenAI) -> None:
        """The client asks for base64 by itself, and makes numbers of it."""
        assert create(client).data[0].embedding == pytest.approx(vector("hearth"), abs=1e-6)

    def test_base64(self, client: OpenAI) -> None:
        """Asked for by the caller, base64 stays: 32-bit floats, little-endian, one after the other."""
        content = create(client, encoding_format="base64").data[0].embedding

        assert isinstance(content, str)
        decoded = np.frombuffer(base64.b64decode(content, validate=True), dtype="<f4")
        floats = create(client, encoding_format="float").data[0].embedding
        assert np.array_equal(decoded, np.array(floats, dtype=np.float32))

    def test_default_on_the_wire(self, http: httpx2.Client) -> None:
        """Without a format, vectors are numbers."""
        response = http.post("/v1/embeddings", json={"model": EMBEDDING_MODEL, "input": "hearth"})

        assert response.json()["data"][0]["embedding"] == pytest.approx(vector("hearth"), abs=1e-6)

    async def test_async_client(self, async_client: AsyncOpenAI) -> None:
        """The asynchronous client gets the same, in both formats."""
        texts = ["one", "two"]
        decoded = await async_client.embeddings.create(model=SMALL, input=texts)
        floats = await async_client.embeddings.create(model=SMALL, input=texts, encoding_format="float")

        assert [each.embedding for each in decoded.data] == [pytest.approx(each.embedding) for each in floats.data]
        assert floats.data[1].embedding == pytest.approx(vector("two"), abs=1e-6)

    @pytest.mark.parametrize("encoding_format", ["hex", "", 1])
    def test_others_are_refused(self, client: OpenAI, encoding_format: Any) -> None:
        """There is no third format."""
        param, code, message = refusal(client, encoding_format=encoding_format)

        assert (param, code) == ("encoding_format", "invalid_value")
        assert message.endswith("Supported values are: 'float' and 'base64'.")


class TestInput:
    """The forms of an input."""

    @pytest.mark.parametrize("texts", [["ab", "c", "ab"], [list(b"ab"), list(b"c"), list(b"ab")]])
    def test_many(self, client: OpenAI, texts: Any) -> None:
        """Several texts or token arrays give one vector each, in their order."""
        response = create(client, input=texts)

        assert [each.index for each in response.data] == [0, 1, 2]
        assert [each.embedding for each in response.data] == [
            pytest.approx(vector(text), abs=1e-6) for text in ("ab", "c", "ab")
        ]
        assert response.usage.prompt_tokens == response.usage.total_tokens == 5

    def test_tokens(self, client: OpenAI) -> None:
        """An array of tokens is one input."""
        assert create(client, input=list(b"hearth")).data[0].embedding == create(client).data[0].embedding

    def test_2048_inputs(self, client: OpenAI) -> None:
        """A request may have 2,048 inputs, and no more."""
        texts = [f"number {number}" for number in range(2048)]

        response = create(client, input=texts)

        assert [each.index for each in response.data] == list(range(2048))
        assert response.data[2047].embedding == pytest.approx(vector("number 2047"), abs=1e-6)
        assert refusal(client, input=[*texts, "one more"]) == (
            "input",
            "invalid_value",
            "'$.input' is invalid: 2049 inputs were sent, and one request has at most 2048.",
        )

    @pytest.mark.parametrize("empty", ["", [], ["a", ""], [[]], [[1], []]])
    def test_empty(self, client: OpenAI, empty: Any) -> None:
        """Nothing at all is refused, wherever it stands."""
        param, code, message = refusal(client, input=empty)

        assert (param, code) == ("input", "invalid_value")
        assert message.startswith("'$.input' is invalid: ")

    @pytest.mark.parametrize(
        ("mixed", "param"),
        [
            (5, "input"),
            (None, "input"),
            ({"text": "a"}, "input"),
            ([1, "a"], "input[1]"),
            (["a", 1], "input[1]"),
            ([[1], 2], "input[1]"),
            ([[1], ["a"]], "input[1][0]"),
            ([1.5], "input[0]"),
            ([True], "input[0]"),
            (["a", None], "input[1]"),
        ],
    )
    def test_types(self, client: OpenAI, mixed: Any, param: str) -> None:
        """An input of mixed or wrong types is refused, and the error names the place."""
        assert refusal(client, input=mixed)[:2] == (param, "invalid_type")

    @pytest.mark.parametrize(("outside", "token"), [([256], 256), ([-1, 5], -1), ([[1], [2, 2**40]], 2**40)])
    def test_vocabulary(self, client: OpenAI, outside: Any, token: int) -> None:
        """A token that the model does not have is refused by its number."""
        param, code, message = refusal(client, input=outside)

        assert (param, code) == ("input", "invalid_value")
        assert f"token {token} " in message
        assert "vocabulary of 256 tokens" in message

    @pytest.mark.parametrize("too_long", ["x" * 513, ["short", "x" * 513], [1] * 513, [[1], [1] * 513]])
    def test_too_long(self, client: OpenAI, too_long: Any) -> None:
        """An input longer than the model's limit is an error that names both numbers, never a silent cut."""
        assert refusal(client, input=too_long) == (
            "input",
            "context_length_exceeded",
            "This model's maximum context length is 512 tokens, however you requested 513 tokens (513 in your prompt; "
            "0 for the completion). Please reduce your prompt; or completion length.",
        )
        assert create(client, input="x" * 512).usage.prompt_tokens == 512

    def test_too_many_tokens(self, client: OpenAI) -> None:
        """All inputs together have at most 300,000 tokens."""
        assert create(client, input=["x" * 500] * 600).usage.total_tokens == 300_000
        assert refusal(client, input=["x" * 500] * 600 + ["y"]) == (
            "input",
            "max_tokens_per_request",
            "Requested 300001 tokens, max 300000 tokens per request.",
        )


class TestDimensions:
    """Shorter vectors."""

    @pytest.mark.parametrize("model", [SMALL, "text-embedding-3-large"])
    def test_prefix(self, client: OpenAI, model: str) -> None:
        """A shorter vector is the beginning of the whole one, with the length 1 again."""
        response = create(client, model=model, dimensions=3)

        assert response.data[0].embedding == pytest.approx(vector("hearth", 3), abs=1e-6)
        assert len(create(client, model=model, dimensions=8).data[0].embedding) == 8

    @pytest.mark.parametrize("dimensions", [3, 8])
    @pytest.mark.parametrize("model", [ADA, EMBEDDING_MODEL])
    def test_unsupported(self, client: OpenAI, model: str, dimensions: int) -> None:
        """A model of a fixed size refuses any size, its own included."""
        assert refusal(client, model=model, dimensions=dimensions) == (
            "dimensions",
            "unsupported_parameter",
            "This model does not support specifying dimensions.",
        )

    @pytest.mark.parametrize(
        ("dimensions", "code"),
        [
            (0, "integer_below_min_value"),
            (-1, "integer_below_min_value"),
            (9, "integer_above_max_value"),
            (2.5, "invalid_type"),
            ("3", "invalid_type"),
            (None, "invalid_type"),
        ],
    )
    def test_range(self, client: OpenAI, dimensions: Any, code: str) -> None:
        """A vector has at least one member and at most all of them; null is no number."""
        param, actual, message = refusal(client, model=SMALL, dimensions=dimensions)

        assert (param, actual) == ("dimensions", code)
        assert dimensions != 9 or "Expected a value <= 8, but got 9 instead." in message

    def test_declared_by_the_model(self, tmp_path: Any) -> None:
        """A model whose files declare it is shortened under its own name."""
        engine = FakeEmbeddingEngine(is_matryoshka=True)
        with (
            run_server(make_settings(tmp_path), FakeTextEngine(), embedding_engine=engine) as running,
            running.client() as client,
        ):
            assert len(create(client, dimensions=2).data[0].embedding) == 2

    def test_declared_by_the_settings(self, tmp_path: Any) -> None:
        """The operator says which names may be shortened; others may not then."""
        settings = make_settings(tmp_path, matryoshka_models=[EMBEDDING_MODEL])
        with run_server(settings, FakeTextEngine()) as running, running.client() as client:
            assert len(create(client, dimensions=2).data[0].embedding) == 2
            assert refusal(client, model=SMALL, dimensions=2)[1] == "unsupported_parameter"


class TestOtherParameters:
    """The rest of the request."""

    def test_user(self, client: OpenAI) -> None:
        """A user may be named, by a string."""
        assert create(client, user="somebody").data
        assert refusal(client, user=5)[:2] == ("user", "invalid_type")
        assert refusal(client, user=None)[:2] == ("user", "invalid_type")

    def test_unknown_parameter(self, client: OpenAI) -> None:
        """A parameter that the reference does not have is refused by its name."""
        assert refusal(client, extra_body={"truncate": True}) == (
            "truncate",
            "unknown_parameter",
            "Unknown parameter: 'truncate'.",
        )

    @pytest.mark.parametrize(
        ("missing", "message"),
        [("model", "you must provide a model parameter"), ("input", "Missing required parameter: 'input'.")],
    )
    def test_missing(self, http: httpx2.Client, missing: str, message: str) -> None:
        """Model and input have to be there."""
        body = {"model": EMBEDDING_MODEL, "input": "a"}
        del body[missing]

        error = http.post("/v1/embeddings", json=body).json()["error"]

        assert (error["param"], error["code"], error["message"]) == (missing, "missing_required_parameter", message)

    @pytest.mark.parametrize("model", ["nobody/knows:it", MODEL, "gpt-4o-mini"])
    def test_model(self, client: OpenAI, model: str) -> None:
        """A model that does not exist, or that makes no embeddings, is a 404 by its code."""
        with pytest.raises(NotFoundError) as caught:
            create(client, model=model)

        assert caught.value.code == "model_not_found"

    def test_embedding_model_for_text(self, client: OpenAI) -> None:
        """An embedding model completes nothing."""
        with pytest.raises(NotFoundError):
            client.completions.create(model=SMALL, prompt="a")

    def test_names(self, client: OpenAI) -> None:
        """The model and its aliases are listed."""
        assert {EMBEDDING_MODEL, SMALL, "text-embedding-3-large", ADA} <= {model.id for model in client.models.list()}


class TestLoad:
    """Many callers, and callers that go."""

    async def test_full_queue(self, slow: RunningServer) -> None:
        """What is too much is answered with 429 and a time; who waits that long is served."""
        async with slow.async_client() as client, slow.async_client(max_retries=5) as patient:
            answers = await asyncio.gather(
                *(client.embeddings.create(model=SMALL, input=["a"] * 50) for _ in range(6)), return_exceptions=True
            )
            refused = [answer for answer in answers if isinstance(answer, RateLimitError)]
            served = await patient.embeddings.create(model=SMALL, input="a")

        assert 1 <= len(refused) <= 4
        assert all(int(error.response.headers["retry-after"]) >= 1 for error in refused)
        assert all(error.code == "rate_limit_exceeded" for error in refused)
        assert len(served.data) == 1

    def test_hanging_up(self, slow: RunningServer) -> None:
        """For a client that hangs up nothing more is computed."""
        with slow.client(timeout=0.3) as client, pytest.raises(APIConnectionError):
            create(client, input=["hearth"] * 2000)

        deadline = time.monotonic() + 30
        while slow.embedding_engine.stats().num_requests_running and time.monotonic() < deadline:
            time.sleep(0.01)
        counted = slow.embedding_engine.stats().prompt_tokens
        assert slow.embedding_engine.stats().num_requests_running == 0
        assert counted < 6 * 2000
        time.sleep(0.1)
        assert slow.embedding_engine.stats().prompt_tokens == counted

    def test_closed_engine(self, tmp_path: Any) -> None:
        """An engine that has failed is a 503 that can be tried again."""
        engine = FakeEmbeddingEngine()
        with run_server(make_settings(tmp_path), FakeTextEngine(), embedding_engine=engine) as running:
            asyncio.run(engine.close())
            with running.client() as client, pytest.raises(APIStatusError) as caught:
                create(client)

        assert caught.value.status_code == 503

    def test_metrics(self, client: OpenAI, http: httpx2.Client) -> None:
        """What was read is counted under the model's name."""
        create(client)

        assert f'openhearth:prompt_tokens_total{{model_name="{EMBEDDING_MODEL}"}}' in http.get("/metrics").text

    def test_large_answers_are_whole(self, http: httpx2.Client) -> None:
        """An answer that is written in pieces is one JSON object in the end."""
        body = {"model": EMBEDDING_MODEL, "input": ["a"] * 200}

        data = json.loads(http.post("/v1/embeddings", json=body).content)["data"]

        assert [each["index"] for each in data] == list(range(200))
