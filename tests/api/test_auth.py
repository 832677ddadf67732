"""Keys: who gets in."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
from openai import AuthenticationError

from openhearth.app import open_api_keys
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.services.api_keys import APIKeys
from tests.servers import RunningServer, make_settings, run_server

T = TypeVar("T")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RunningServer]:
    """Run a server with a home of its own."""
    with run_server(make_settings(tmp_path), FakeTextEngine()) as running:
        yield running


def with_keys(server: RunningServer, use: Callable[[APIKeys], Awaitable[T]]) -> T:
    """Do something with the keys of a running server's home, as another process would."""

    async def run() -> T:
        async with open_api_keys(server.settings) as api_keys:
            return await use(api_keys)

    return asyncio.run(run())


def status(server: RunningServer, authorization: str | None) -> int:
    """Return the status that an Authorization header leads to."""
    headers = {} if authorization is None else {"Authorization": authorization}
    return httpx2.get(f"{server.url}/v1/models", headers=headers).status_code


class TestWithoutKeys:
    """A server on this machine that has no key."""

    @pytest.mark.parametrize("authorization", [None, "Bearer anything", "Bearer", "Basic Og==", "nonsense"])
    def test_everybody(self, server: RunningServer, authorization: str | None) -> None:
        """Any key or none gets in."""
        assert status(server, authorization) == 200

    def test_other_bind(self, tmp_path: Path) -> None:
        """On any other address a key is needed, also while there is none."""
        with run_server(make_settings(tmp_path, host="0.0.0.0"), FakeTextEngine()) as running:
            assert status(running, "Bearer anything") == 401


class TestWithKeys:
    """A server that has keys."""

    def test_made_while_it_runs(self, own: RunningServer) -> None:
        """A key that another process makes counts at once, for bearer and Basic, and shuts out everybody else."""
        assert status(own, None) == 200

        secret = with_keys(own, lambda keys: keys.create("mine"))

        assert secret.startswith("sk-")
        assert status(own, f"Bearer {secret}") == 200
        assert status(own, "Basic " + base64.b64encode(f":{secret}".encode()).decode()) == 200
        assert status(own, "Basic " + base64.b64encode(f"user:{secret}".encode()).decode()) == 401
        assert status(own, "Basic %%%") == 401
        assert status(own, "Digest abc") == 401
        assert status(own, None) == 401
        assert status(own, f"Bearer {secret}x") == 401
        assert httpx2.get(f"{own.url}/health").status_code == 200

    def test_revoked(self, own: RunningServer) -> None:
        """A revoked key counts no more, and revoking the last one opens no door."""
        secret = with_keys(own, lambda keys: keys.create("mine"))
        [key] = with_keys(own, lambda keys: keys.list())

        with_keys(own, lambda keys: keys.revoke(key.id))

        assert status(own, f"Bearer {secret}") == 401
        assert status(own, None) == 401

    def test_errors(self, own: RunningServer) -> None:
        """No key and a wrong key have errors of their own; of the wrong one only the ends are shown."""
        with_keys(own, lambda keys: keys.create("mine"))

        missing = httpx2.post(f"{own.url}/v1/completions", content=b"{")
        with pytest.raises(AuthenticationError) as wrong:
            own.client(api_key="sk-12345-middle-part-6789").models.list()

        assert missing.status_code == 401
        assert missing.headers["www-authenticate"] == "Bearer"
        assert missing.json()["error"]["code"] is None
        assert "Authorization: Bearer" in missing.json()["error"]["message"]
        assert wrong.value.code == "invalid_api_key"
        assert "Incorrect API key provided: sk-12345*************6789." in str(wrong.value)
