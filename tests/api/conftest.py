"""One server for all tests that leave nothing behind, and its clients."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI

from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.logs import configure_logging
from tests.servers import RunningServer, make_settings, run_server


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    """Keep the access log out of the tests' output."""
    configure_logging("error", "json")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server with the default settings."""
    settings = make_settings(tmp_path_factory.mktemp("server"), max_request_body_bytes=2**20)
    with run_server(settings, FakeTextEngine()) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    """Give the official client."""
    with server.client() as client:
        yield client


@pytest.fixture
async def async_client(server: RunningServer) -> AsyncIterator[AsyncOpenAI]:
    """Give the official asynchronous client."""
    async with server.async_client() as client:
        yield client


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx2.Client]:
    """Give a plain HTTP client, for what the official one would not send."""
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client
