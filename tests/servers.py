"""Servers for tests: the real application over the engine without weights, on a real socket."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, OpenAI

from openhearth.api.server import Server, bind
from openhearth.app import build
from openhearth.catalog.catalog import Catalog
from openhearth.engine.base import EmbeddingEngine, ImageEngine, TextEngine
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.services.model_host import Loaders
from openhearth.settings import Settings

MODEL = "fake-model"
EMBEDDING_MODEL = "fake-embedding-model"


@dataclass(frozen=True)
class RunningServer:
    """A server that answers."""

    port: int
    engine: TextEngine
    embedding_engine: EmbeddingEngine
    settings: Settings

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> OpenAI:
        """Return the official client, which does not try again by itself."""
        defaults: dict[str, Any] = {"base_url": f"{self.url}/v1", "api_key": "any", "max_retries": 0}
        return OpenAI(**(defaults | options))

    def async_client(self, **options: Any) -> AsyncOpenAI:
        """Return the official asynchronous client."""
        defaults: dict[str, Any] = {"base_url": f"{self.url}/v1", "api_key": "any", "max_retries": 0}
        return AsyncOpenAI(**(defaults | options))


def make_settings(root: Path, **settings: Any) -> Settings:
    """Return settings for a home and a models folder under `root`, with models that the catalog takes for real."""
    for name, architecture, length in ((MODEL, "LlamaForCausalLM", 2048), (EMBEDDING_MODEL, "BertModel", 512)):
        model = root / "models" / name
        model.mkdir(parents=True, exist_ok=True)
        config = {"architectures": [architecture], "max_position_embeddings": length}
        (model / "config.json").write_text(json.dumps(config))
        (model / "model.safetensors").touch()
    home = root / "home"
    home.mkdir(exist_ok=True)
    defaults: dict[str, Any] = {"home": home, "models": root / "models", "port": 0}
    defaults |= {"text_model": MODEL, "embedding_model": EMBEDDING_MODEL, "image_model": ""}
    return Settings(**(defaults | settings))


@contextmanager
def run_server(
    settings: Settings,
    engine: TextEngine,
    *,
    embedding_engine: EmbeddingEngine | None = None,
    load_image_engine: Callable[[Path], ImageEngine] | None = None,
) -> Iterator[RunningServer]:
    """Run the application in a thread for as long as the context lasts."""
    catalog = Catalog(settings.models, aliases=settings.aliases, configured=settings.default_models)
    embedding = embedding_engine or FakeEmbeddingEngine()
    loaders = Loaders(text=lambda _path: engine, embedding=lambda _path: embedding)
    if load_image_engine is not None:
        loaders = replace(loaders, image=load_image_engine)
    app = build(settings, catalog=catalog, loaders=loaders)
    sockets: list[socket.socket] = bind(settings.host, settings.port)
    port = sockets[0].getsockname()[1]
    ready = threading.Event()

    async def announce() -> None:
        await app.state.services.host.ready()
        ready.set()

    server = Server(app, drain_timeout_seconds=settings.drain_timeout_seconds, on_listening=announce)
    thread = threading.Thread(target=server.serve_on, args=[sockets])
    thread.start()
    try:
        assert ready.wait(timeout=240)
        yield RunningServer(port, engine, embedding, settings)
    finally:
        server.should_exit = True
        thread.join()
