"""Limits by the minute, as the official client meets them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI, RateLimitError

from openhearth.app import open_api_keys
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.settings import Settings
from tests.servers import EMBEDDING_MODEL, MODEL, RunningServer, make_settings, run_server

MEMBERS = {"limit", "remaining", "reset"}


@pytest.fixture
def limited(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Run a server with the limits that the test asks for."""
    with run_server(make_settings(tmp_path, **request.param), FakeTextEngine()) as running:
        yield running


def limits(**settings: int) -> pytest.MarkDecorator:
    """Ask for limits."""
    return pytest.mark.parametrize("limited", [settings], indirect=True, ids=["limited"])


def rate_headers(headers: Any) -> dict[str, str]:
    """Return what an answer says of limits."""
    return {name: value for name, value in headers.items() if name.startswith("x-ratelimit-")}


def complete(client: OpenAI, **params: Any) -> Any:
    """Ask for a completion of 4 tokens after a prompt of 5, and return the answer with its headers."""
    defaults: dict[str, Any] = {"model": MODEL, "prompt": "hello", "max_tokens": 4}
    return client.completions.with_raw_response.create(**(defaults | params))


class TestHeaders:
    """What answers tell."""

    def test_no_limits(self, client: OpenAI) -> None:
        """Where no limit is set, no header speaks of one."""
        assert rate_headers(complete(client).headers) == {}

    @limits(max_requests_per_minute=60, max_tokens_per_minute=60_000, max_project_tokens_per_minute=90_000)
    def test_computing(self, limited: RunningServer) -> None:
        """Completions, chats and embeddings tell all limits, whole, streamed or refused."""
        params: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
        with limited.client() as client:
            answers = [
                complete(client),
                client.chat.completions.with_raw_response.create(**params),
                client.chat.completions.with_raw_response.create(stream=True, max_tokens=3, **params),
                client.embeddings.with_raw_response.create(model=EMBEDDING_MODEL, input="hello"),
            ]
        with httpx2.Client(base_url=limited.url) as http:
            refused = http.post("/v1/completions", json={"model": MODEL, "n": "many"})

        assert refused.status_code == 400
        for answer in [*answers, refused]:
            headers = rate_headers(answer.headers)
            assert set(headers) == {
                f"x-ratelimit-{member}-{name}"
                for member in MEMBERS
                for name in ("requests", "tokens", "project-tokens")
            }
            assert headers["x-ratelimit-limit-requests"] == "60"
            assert headers["x-ratelimit-limit-tokens"] == "60000"
            assert headers["x-ratelimit-limit-project-tokens"] == "90000"
            assert 55 <= int(headers["x-ratelimit-remaining-requests"]) <= 60
            assert headers["x-ratelimit-reset-tokens"].endswith("s")

    @limits(max_requests_per_minute=4, max_uploads_per_minute=10)
    def test_other_routes(self, limited: RunningServer) -> None:
        """Files and models tell nothing, and take nothing from the limit on requests."""
        with limited.client() as client:
            uploaded = client.files.with_raw_response.create(file=b"text", purpose="user_data")
            listed = client.models.with_raw_response.list()

            assert rate_headers(uploaded.headers) == rate_headers(listed.headers) == {}
            assert complete(client).headers["x-ratelimit-remaining-requests"] == "3"

    @limits(max_tokens_per_minute=1000)
    def test_settled(self, limited: RunningServer) -> None:
        """A request is counted with all it may generate, and in the end with what it has used."""
        with limited.client() as client:
            first = complete(client, max_tokens=900, stop="a")
            used = first.parse().usage.total_tokens
            second = complete(client, max_tokens=1)

        assert used < 905
        assert 1000 - used <= int(first.headers["x-ratelimit-remaining-tokens"]) <= 1000
        assert int(second.headers["x-ratelimit-remaining-tokens"]) >= 1000 - used - 6


class TestRefusal:
    """What happens beyond a limit."""

    @limits(max_requests_per_minute=2)
    def test_requests(self, limited: RunningServer) -> None:
        """A request too many is a 429 of type `requests` with the time to wait; others go on."""
        with limited.client() as client:
            complete(client)
            complete(client)
            with pytest.raises(RateLimitError) as caught:
                complete(client)
            client.models.list()

        error = caught.value
        assert (error.type, error.code, error.param) == ("requests", "rate_limit_exceeded", None)
        assert "on requests per min (RPM): Limit 2, Used 2, Requested 1." in error.message
        assert 1 <= int(error.response.headers["retry-after"]) <= 30
        assert 0 < int(error.response.headers["retry-after-ms"]) <= 30_000
        assert error.response.headers["x-ratelimit-remaining-requests"] == "0"

    @limits(max_tokens_per_minute=40)
    @pytest.mark.parametrize("stream", [False, True])
    def test_tokens(self, limited: RunningServer, stream: bool) -> None:
        """Tokens too many are a 429 of type `tokens`, also for a stream, and compute nothing."""
        with limited.client() as client:
            client.embeddings.create(model=EMBEDDING_MODEL, input="x" * 30)
            with pytest.raises(RateLimitError) as caught:
                client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=8, stream=stream
                )
            with pytest.raises(RateLimitError, match=rf"for {EMBEDDING_MODEL} .* Requested 20\."):
                client.embeddings.create(model=EMBEDDING_MODEL, input="x" * 20)

        error = caught.value
        assert (error.type, error.code, error.param) == ("tokens", "rate_limit_exceeded", None)
        assert f"Rate limit reached for {MODEL} in organization openhearth" in error.message
        assert int(error.response.headers["retry-after"]) >= 1
        assert limited.engine.stats().prompt_tokens == 0

    @limits(max_tokens_per_minute=40)
    def test_too_large(self, limited: RunningServer) -> None:
        """What can never fit is refused without a time to wait, so that the client does not try again."""
        with limited.client(max_retries=2) as client, pytest.raises(RateLimitError) as caught:
            complete(client, max_tokens=60)

        headers = caught.value.response.headers
        assert "Request too large" in caught.value.message
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers
        assert caught.value.request.headers["x-stainless-retry-count"] == "0"

    @limits(max_uploads_per_minute=2)
    def test_uploads(self, limited: RunningServer) -> None:
        """Files and announcements of uploads are counted together; reading, and parts, are not."""
        with limited.client() as client:
            file = client.files.create(file=b"text", purpose="user_data")
            upload = client.uploads.create(filename="a", purpose="user_data", bytes=4, mime_type="text/plain")
            part = client.uploads.parts.create(upload.id, data=b"text")
            with pytest.raises(RateLimitError, match="on uploads per min: Limit 2") as caught:
                client.files.create(file=b"text", purpose="user_data")
            client.uploads.complete(upload.id, part_ids=[part.id])
            client.files.delete(file.id)

            assert len(client.files.list().data) == 1
        assert caught.value.type == "requests"
        assert int(caught.value.response.headers["retry-after"]) >= 1

    @limits(max_tokens_per_minute=6000)
    def test_client_waits(self, limited: RunningServer) -> None:
        """The official client waits for as long as it is told, seconds here, and succeeds when it tries again once."""
        with limited.client(max_retries=1) as client:
            client.embeddings.create(model=EMBEDDING_MODEL, input=["x" * 500] * 12)
            answer = client.embeddings.with_raw_response.create(model=EMBEDDING_MODEL, input="x" * 300)

        assert answer.http_request.headers["x-stainless-retry-count"] == "1"


class TestKeys:
    """Whose limits they are."""

    def test_each_key(self, tmp_path: Path) -> None:
        """One key's requests do not count against another's."""
        settings = make_settings(tmp_path, max_requests_per_minute=1)
        one, other = asyncio.run(make_keys(settings))
        with run_server(settings, FakeTextEngine()) as running:
            with running.client(api_key=one) as client:
                complete(client)
                with pytest.raises(RateLimitError):
                    complete(client)
            with running.client(api_key=other) as client:
                complete(client)

    @limits(max_requests_per_minute=5)
    async def test_at_once(self, limited: RunningServer) -> None:
        """Of requests that come together as many get through as the limit allows."""
        async with limited.async_client() as client:
            answers = await asyncio.gather(*(ask(client) for _ in range(12)))

        assert sorted(answers) == [False] * 7 + [True] * 5


async def make_keys(settings: Settings) -> tuple[str, str]:
    """Make two keys of one project."""
    async with open_api_keys(settings) as api_keys:
        return await api_keys.create("one"), await api_keys.create("other")


async def ask(client: AsyncOpenAI) -> bool:
    """Return whether a request got through."""
    try:
        await client.completions.create(model=MODEL, prompt="hello", max_tokens=1)
    except RateLimitError:
        return False
    return True
