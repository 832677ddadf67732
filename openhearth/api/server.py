"""The web server: sockets, signals, and how it ends. What it serves is put together in `app.py`."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from types import FrameType

import uvicorn
from fastapi import FastAPI
from sse_starlette.sse import AppStatus

from openhearth.errors import ConfigurationError


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of `host`; all have one port, also if any port will do (`port` 0).

    Raises `ConfigurationError` if that cannot be had.
    """
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            wanted = (address[0], sockets[0].getsockname()[1] if sockets else port)
            sockets.append(socket.create_server(wanted, family=family, backlog=2048))
    except OSError as error:
        for bound in sockets:
            bound.close()
        raise ConfigurationError(f"The server cannot listen on {host}, port {port}: {error.strerror}.") from error
    return sockets


def is_loopback(host: str) -> bool:
    """Return whether a server bound to `host` can be reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Server(uvicorn.Server):
    """Serves until a signal; then lets running requests finish, for as long as they are given, and ends in peace.

    A second signal ends it at once. `on_listening` runs beside the requests; what it raises ends the server, too.
    """

    def __init__(
        self, app: FastAPI, *, drain_timeout_seconds: float, on_listening: Callable[[], Awaitable[None]]
    ) -> None:
        # Streams would end as soon as a signal comes; here they have as much time to finish as other requests.
        AppStatus.enable_automatic_graceful_drain = False
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        # uvicorn's own type asks for whole seconds, yet it only hands the value to asyncio.
        config.timeout_graceful_shutdown = drain_timeout_seconds  # type: ignore[assignment]
        super().__init__(config)
        self._on_listening = on_listening
        self._announcing: asyncio.Task[None] | None = None

    def serve_on(self, sockets: list[socket.socket]) -> None:
        """Serve until told to stop. Raises what `on_listening` raised."""
        self.run(sockets)
        if self._announcing is not None and not self._announcing.cancelled():
            self._announcing.result()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets)
        self._announcing = asyncio.create_task(self._announce())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let the requests finish, and close the application."""
        await super().shutdown(sockets)
        if self._announcing is not None:
            self._announcing.cancel()
            await asyncio.gather(self._announcing, return_exceptions=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take note of a signal. It is not raised again afterwards, so that the process can end with code 0."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def _announce(self) -> None:
        try:
            await self._on_listening()
        except Exception:
            self.should_exit = True
            raise
