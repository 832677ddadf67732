"""Limits by the minute, at the door: refuses before the body is read, and tells in headers what is left.

The headers of limits that are not set are left out: there is no number that could stand in them.
"""

import math
import re
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openhearth.api.error_handlers import error_response
from openhearth.errors import RateLimitError
from openhearth.services.rate_limits import Allowance, RateLimits

_COMPUTING_PATHS = re.compile(r"/v1/(?:chat/completions|completions|extended/completions|embeddings)")
_UPLOADING_PATHS = re.compile(r"/v1/(?:files|uploads)")

RATE_LIMIT_HEADERS = tuple(
    f"x-ratelimit-{value}-{name}"
    for name in ("requests", "tokens", "project-tokens")
    for value in ("limit", "remaining", "reset")
)


class RateLimiting:
    """Counts requests; what they compute is counted by the services, out of the allowance in the request's state."""

    def __init__(self, app: ASGIApp, *, limits: RateLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        if is_post and _COMPUTING_PATHS.fullmatch(scope["path"]):
            allowance = self._limits.of_computing(scope["state"]["caller"])
            scope["state"]["allowance"] = allowance
            await self._within(allowance.take_request, scope, receive, _with_levels(send, allowance))
        elif is_post and _UPLOADING_PATHS.fullmatch(scope["path"]):
            allowance = self._limits.of_uploading(scope["state"]["caller"])
            await self._within(allowance.take_upload, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _within(self, take: Callable[[], None], scope: Scope, receive: Receive, send: Send) -> None:
        try:
            take()
        except RateLimitError as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _with_levels(send: Send, allowance: Allowance) -> Send:
    async def send_with_levels(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, level in allowance.levels().items():
                headers[f"x-ratelimit-limit-{name}"] = str(level.limit)
                headers[f"x-ratelimit-remaining-{name}"] = str(level.remaining)
                headers[f"x-ratelimit-reset-{name}"] = go_duration(level.reset_seconds)
            message = {**message, "headers": headers.raw}
        await send(message)

    return send_with_levels


def go_duration(seconds: float) -> str:
    """Return a time as Go writes durations, such as `17ms`, `1.5s` or `6m0s`; never less than it is, to a thousandth.

    https://pkg.go.dev/time#Duration.String
    """
    milliseconds = math.ceil(seconds * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
