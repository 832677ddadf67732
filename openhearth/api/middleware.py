"""What happens to every request before and after its route: identity, hosts, body size, errors, the access log.

Pure ASGI, so that streams pass through untouched. `build` in `app.py` puts the layers together, outermost first.
"""

import asyncio
import re
import time
from collections.abc import Collection
from ipaddress import ip_address

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openhearth import ids
from openhearth.api.error_handlers import error_response
from openhearth.errors import (
    BadRequestError,
    PermissionDeniedError,
    RequestTooLargeError,
    ServiceUnavailableError,
)

log = structlog.get_logger(__name__)

_API_VERSION = "2020-10-01"
_MAX_CLIENT_REQUEST_ID_LENGTH = 512


class RequestContext:
    """Gives each request its id and its headers, answers for errors that nobody caught, and writes the access log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = ids.request_id()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = _Response(send, request_id)
            try:
                _check_client_request_id(Headers(scope=scope))
                await self._app(scope, receive, response.send)
            except asyncio.CancelledError:
                # Nobody but the server cancels a request, and only when it waits no longer for those that still run.
                if response.status_code is None:
                    ending = ServiceUnavailableError("The server is shutting down.")
                    await error_response(ending)(scope, receive, response.send)
            except ClientDisconnect:
                return  # the caller went away in the middle of its body: there is nobody to answer
            except Exception as error:
                if response.status_code is not None:
                    raise  # half an answer is out already: let the server break the connection
                await error_response(error)(scope, receive, response.send)
            finally:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=response.status_code,
                    duration_ms=response.age_ms(),
                    project=scope.get("state", {}).get("project"),
                )


class _Response:
    """The answer to one request, as it passes by."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status_code: int | None = None
        self._send = send
        self._request_id = request_id
        self._started_at = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Pass a message on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            headers["x-request-id"] = self._request_id
            headers["openai-processing-ms"] = str(round(self.age_ms()))
            headers["openai-version"] = _API_VERSION
            message = {**message, "headers": headers.raw}
        await self._send(message)

    def age_ms(self) -> float:
        """Return the milliseconds since the request came in."""
        return round((time.perf_counter() - self._started_at) * 1000, 1)


def _check_client_request_id(headers: Headers) -> None:
    client_request_id = headers.get("x-client-request-id", "")
    if not client_request_id.isascii() or len(client_request_id) > _MAX_CLIENT_REQUEST_ID_LENGTH:
        raise BadRequestError(
            f"X-Client-Request-Id has to be ASCII and at most {_MAX_CLIENT_REQUEST_ID_LENGTH} characters long.",
            param="X-Client-Request-Id",
            code="invalid_value",
        )


class HostCheck:
    """Refuses requests whose Host is not this server's, so that no web page can reach it under a name of its own.

    A page's origin is a name, so an address that was asked for by number is no danger on a wildcard bind.
    """

    def __init__(self, app: ASGIApp, *, bind_host: str, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._allows_any = "*" in allowed_hosts
        self._allows_any_address = _is_unspecified(bind_host)
        self._names = {"localhost", "127.0.0.1", "::1", bind_host.lower(), *map(str.lower, allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not self._is_allowed(name := _host_name(Headers(scope=scope))):
            raise PermissionDeniedError(
                f"The host {name!r} is not one of this server's names. Add it to OPENHEARTH_ALLOWED_HOSTS if it is.",
                code="host_not_allowed",
            )
        await self._app(scope, receive, send)

    def _is_allowed(self, name: str) -> bool:
        return self._allows_any or name in self._names or (self._allows_any_address and _is_address(name))


def _host_name(headers: Headers) -> str:
    """Return the Host header's name, in small letters, without the port and without the brackets of IPv6."""
    host = headers.get("host", "").lower()
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).strip("[]")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_unspecified(bind_host: str) -> bool:
    return _is_address(bind_host) and ip_address(bind_host).is_unspecified


class BodyLimit:
    """Ends requests whose body is larger than `max_bytes`, at the latest when that many bytes have come in.

    Routes that take files in forms have limits of their own; `exempt` matches their paths.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, exempt: re.Pattern[str]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or self._is_exempt(scope):
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        self._check(int(announced) if announced.isdigit() else 0)
        num_bytes = 0

        async def receive_counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            self._check(num_bytes)
            return message

        await self._app(scope, receive_counted, send)

    def _is_exempt(self, scope: Scope) -> bool:
        is_form = Headers(scope=scope).get("content-type", "").startswith("multipart/form-data")
        return is_form and self._exempt.fullmatch(scope["path"]) is not None

    def _check(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            raise RequestTooLargeError(f"The body is larger than the {self._max_bytes} bytes that this server accepts.")
