"""The connection to a remote server: requests out, events in, and every failure as an error of ours.

Knows HTTP and server-sent events; what is in the events is for others.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson

from openhearth.engine.remote.config import RemoteConfig
from openhearth.errors import (
    APIError,
    BadRequestError,
    ContextLengthExceededError,
    GenerationTimeoutError,
    RateLimitError,
    ServiceUnavailableError,
)

_CONNECT_SECONDS = 10.0
_DEFAULT_RETRY_SECONDS = 1.0


class RemoteClient:
    """Posts requests. How long an answer may take is for the caller to say, by closing what it reads."""

    def __init__(self, config: RemoteConfig) -> None:
        self._model = config.model
        self._http = httpx2.AsyncClient(
            base_url=config.base_url.rstrip("/") + "/",
            headers={"authorization": f"Bearer {config.api_key}"} if config.api_key else {},
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None),
        )

    async def create(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return a whole completion. Raises `APIError`."""
        return await self._post("completions", members)

    async def create_embeddings(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return embeddings. Raises `APIError`."""
        return await self._post("embeddings", members)

    async def stream(self, members: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the events of a completion; closing the iterator closes the connection. Raises `APIError`."""
        with _own_errors():
            async with self._http.stream("POST", "completions", json={"model": self._model, **members}) as response:
                if response.status_code != httpx2.codes.OK:
                    raise error_of(response.status_code, response.headers, await response.aread())
                async for line in response.aiter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data:"):
                        event = _object(line.removeprefix("data:"))
                        if event.get("error"):
                            raise _error_in_stream(event["error"])
                        yield event

    async def close(self) -> None:
        """Close all connections; what is being read ends with an error."""
        await self._http.aclose()

    async def _post(self, route: str, members: Mapping[str, Any]) -> dict[str, Any]:
        with _own_errors():
            response = await self._http.post(route, json={"model": self._model, **members})
            if response.status_code != httpx2.codes.OK:
                raise error_of(response.status_code, response.headers, response.content)
            return _object(response.content)


def error_of(status_code: int, headers: Mapping[str, str], content: bytes) -> APIError:
    """Return the error that stands for a remote server's answer.

    Refusals and a full queue are passed on to the caller. What only the operator can put right, such as a wrong key,
    is a server that is not available.
    """
    error = _error_object(content)
    message = str(error.get("message") or f"The server behind this model answered with status {status_code}.")
    param, code = _text(error.get("param")), _text(error.get("code"))
    if code == ContextLengthExceededError.code:
        return ContextLengthExceededError(message, param=param)
    match status_code:
        case 400 | 422:
            return BadRequestError(message, param=param, code=code or "invalid_value")
        case 429:
            return RateLimitError(message, retry_after_seconds=_retry_after_seconds(headers))
        case 401 | 403:
            return ServiceUnavailableError("The server behind this model does not accept this server's key.")
        case 404:
            return ServiceUnavailableError(f"The server behind this model has no such model or route: {message}")
        case _:
            return _error_in_stream(error | {"message": message})


def _error_in_stream(error: Mapping[str, Any]) -> APIError:
    message = str(error.get("message") or "The server behind this model failed.")
    if error.get("code") == GenerationTimeoutError.code:
        return GenerationTimeoutError(message)
    return ServiceUnavailableError(message)


def _error_object(content: bytes) -> dict[str, Any]:
    try:
        body = _object(content)
    except ServiceUnavailableError:
        return {}
    error = body.get("error", body)
    return error if isinstance(error, dict) else {"message": error}


def _object(content: bytes | str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ServiceUnavailableError("The server behind this model does not speak the OpenAI API.")
    return parsed


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _retry_after_seconds(headers: Mapping[str, str]) -> float:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.001, float(headers[name]) * unit)
        except (KeyError, ValueError):  # not sent, or a date
            continue
    return _DEFAULT_RETRY_SECONDS


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        reason = str(error) or type(error).__name__
        raise ServiceUnavailableError(f"The server behind this model cannot be reached: {reason}") from error
