"""What a remote embedding engine makes of its settings, and of servers that answer something else."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.remote.embedding import RemoteEmbeddingEngine
from openhearth.errors import ModelLoadError, RateLimitError, ServiceUnavailableError
from tests.tiny_encoders import MAX_MODEL_LEN, build_tiny_encoder


class Server:
    """A server that gives the same answer to everything."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.path, outer.key = self.path, self.headers["authorization"]
                content = json.dumps(outer.answer).encode()
                self.send_response(outer.status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.request: dict[str, Any] = {}
        self.path, self.key = "", ""
        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    """Run the server."""
    server = Server()
    thread = Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def vectors(*values: Any) -> dict[str, Any]:
    """Return an answer with these vectors, the last one first."""
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(values)]
    return {"object": "list", "data": data[::-1]}


@pytest.fixture
def config(tmp_path: Path, server: Server) -> RemoteConfig:
    """Return the settings of a tiny model on that server."""
    return RemoteConfig(base_url=server.url, model="theirs", tokenizer=build_tiny_encoder(tmp_path), api_key="sk-1")


async def test_request(config: RemoteConfig, server: Server) -> None:
    """Tokens are sent under the model's name there, with the key; numbers are as good as base64."""
    engine = RemoteEmbeddingEngine(config)
    server.answer = vectors([2.0] + [0.0] * 63, [0.0] * 63 + [3.0])

    result = await engine.embed([[5, 6], [7]])
    await engine.close()

    assert server.request == {"model": "theirs", "input": [[5, 6], [7]], "encoding_format": "base64"}
    assert (server.path, server.key) == ("/v1/embeddings", "Bearer sk-1")
    assert result[0, 0] == result[1, 63] == 1
    assert np.allclose(np.linalg.norm(result, axis=1), 1)


@pytest.mark.parametrize(
    ("status", "answer", "error", "complaint"),
    [
        (200, vectors([1.0, 2.0]), ServiceUnavailableError, "may serve another model"),
        (200, {"object": "list"}, ServiceUnavailableError, "does not speak the OpenAI API"),
        (200, vectors("not base64!"), ServiceUnavailableError, "does not speak the OpenAI API"),
        (429, {"error": {"message": "Too much."}}, RateLimitError, "Too much"),
        (401, {}, ServiceUnavailableError, "key"),
        (500, {}, ServiceUnavailableError, "500"),
    ],
)
async def test_failures(
    config: RemoteConfig, server: Server, status: int, answer: Any, error: type[Exception], complaint: str
) -> None:
    """Whatever the other server does wrong is an error that says so."""
    engine = RemoteEmbeddingEngine(config)
    server.status, server.answer = status, answer

    with pytest.raises(error, match=complaint):
        await engine.embed([[5]])
    await engine.close()


async def test_unreachable(tmp_path: Path) -> None:
    """A server that is not there is one that is not available."""
    engine = RemoteEmbeddingEngine(
        RemoteConfig(base_url="http://127.0.0.1:9/v1", model="theirs", tokenizer=build_tiny_encoder(tmp_path))
    )

    with pytest.raises(ServiceUnavailableError, match="cannot be reached"):
        await engine.embed([[5]])
    await engine.close()


async def test_spec(config: RemoteConfig) -> None:
    """What the model is stands in its configuration."""
    engine = RemoteEmbeddingEngine(config)
    await engine.close()

    assert (engine.spec.dimensions, engine.spec.max_model_len) == (64, MAX_MODEL_LEN)


def test_missing_config(config: RemoteConfig) -> None:
    """Without a configuration the size of the vectors is not known."""
    (config.tokenizer / "config.json").unlink()

    with pytest.raises(ModelLoadError, match=r"config\.json"):
        RemoteEmbeddingEngine(config)
