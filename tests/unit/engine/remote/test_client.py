"""What goes wrong between two servers, as errors of ours."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from openhearth.engine.remote.client import RemoteClient, error_of
from openhearth.engine.remote.config import RemoteConfig
from openhearth.errors import (
    APIError,
    BadRequestError,
    ContextLengthExceededError,
    GenerationTimeoutError,
    RateLimitError,
    ServiceUnavailableError,
)

Answer = Callable[[bytes], str]


class Handler(BaseHTTPRequestHandler):
    """Answers every request with the content that the test has chosen, and keeps what came."""

    content: ClassVar[bytes] = b""
    received: ClassVar[list[tuple[str, str | None, Any]]] = []

    def do_POST(self) -> None:
        """Answer a request."""
        body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
        self.received.append((self.path, self.headers["authorization"], body))
        self.send_response(200)
        self.send_header("content-length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def answering() -> Iterator[Answer]:
    """Give a function that sets what the server answers, and returns its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def answer(content: bytes) -> str:
        Handler.content = content
        return f"http://127.0.0.1:{server.server_address[1]}/v1"

    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


async def events(base_url: str) -> list[dict[str, Any]]:
    """Return the events of a request."""
    client = RemoteClient(RemoteConfig(base_url=base_url, model="theirs", tokenizer=Path("none"), api_key="secret"))
    try:
        return [event async for event in client.stream({"prompt": [1]})]
    finally:
        await client.close()


async def test_stream(answering: Answer) -> None:
    """Events are read up to the end mark, past comments; the request carries the key and the model's name there."""
    base_url = answering(b': ping\n\ndata: {"choices": []}\n\ndata:{"n": 2}\n\ndata: [DONE]\n\ndata: {"late": 1}\n\n')

    assert await events(base_url) == [{"choices": []}, {"n": 2}]
    assert Handler.received[-1] == ("/v1/completions", "Bearer secret", {"model": "theirs", "prompt": [1]})


async def test_error_in_a_stream(answering: Answer) -> None:
    """An error in a stream is raised, with what the server said."""
    base_url = answering(b'data: {"error": {"message": "Time is over.", "code": "request_timeout"}}\n\n')

    with pytest.raises(GenerationTimeoutError, match="Time is over"):
        await events(base_url)


async def test_no_openai_api(answering: Answer) -> None:
    """A server that sends something else is told apart from a failure of ours."""
    with pytest.raises(ServiceUnavailableError, match="does not speak"):
        await events(answering(b"data: <html>\n\n"))


async def test_out_of_reach() -> None:
    """A server that does not listen is not available."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ServiceUnavailableError, match="cannot be reached"):
            await events(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")


@pytest.mark.parametrize(
    ("status_code", "error", "expected"),
    [
        (400, {"message": "No.", "param": "top_p", "code": "invalid_value"}, BadRequestError),
        (422, {"message": "No.", "code": 422}, BadRequestError),
        (400, {"message": "No.", "code": "context_length_exceeded"}, ContextLengthExceededError),
        (401, {"message": "No."}, ServiceUnavailableError),
        (404, {"message": "No."}, ServiceUnavailableError),
        (429, {"message": "No."}, RateLimitError),
        (503, {"message": "No."}, ServiceUnavailableError),
        (504, {"message": "No.", "code": "request_timeout"}, GenerationTimeoutError),
    ],
)
def test_statuses(status_code: int, error: dict[str, Any], expected: type[APIError]) -> None:
    """What the caller did is passed on by name; what only the operator can change is a server that is unavailable."""
    raised = error_of(status_code, {}, orjson.dumps({"error": error}))

    assert type(raised) is expected
    assert raised.param == error.get("param")
    assert status_code == 401 or "No." in raised.message


@pytest.mark.parametrize("content", [b"", b"<html>", b'{"error": "No."}', b'{"message": "No."}'])
def test_errors_in_other_forms(content: bytes) -> None:
    """A server whose errors look different is understood as far as it can be."""
    assert isinstance(error_of(500, {}, content), ServiceUnavailableError)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "6500"}, 6.5),
        ({"retry-after": "Sun, 22 Nov 2026 18:00:00 GMT"}, 1.0),
        ({}, 1.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    """A full queue is passed on with the time to wait."""
    raised = error_of(429, headers, b"{}")

    assert isinstance(raised, RateLimitError)
    assert raised.retry_after_seconds == seconds
