"""Our exceptions in the words of HTTP: status, error object, headers. The only table of status codes.

Leaves choosing an exception, and its message, to whoever raises it.
"""

import math

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from openhearth.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    GenerationTimeoutError,
    InsufficientStorageError,
    NotFoundError,
    PermissionDeniedError,
    RangeNotSatisfiableError,
    RateLimitError,
    RequestTooLargeError,
    ServiceUnavailableError,
)
from openhearth.schemas.shared import Error, ErrorResponse
from openhearth.schemas.validation import bad_request, unreadable_body

log = structlog.get_logger(__name__)

_INTERNAL_MESSAGE = "The server had an error while processing your request. Its log says more."
_STATUS_CODES: dict[type[APIError], int] = {
    BadRequestError: 400,
    AuthenticationError: 401,
    PermissionDeniedError: 403,
    NotFoundError: 404,
    RequestTooLargeError: 413,
    RangeNotSatisfiableError: 416,
    RateLimitError: 429,
    ServiceUnavailableError: 503,
    GenerationTimeoutError: 504,
    InsufficientStorageError: 507,
}


def status_code_of(error: Exception) -> int:
    """Return the status that belongs to an exception; 500 for one that has no name."""
    return next((_STATUS_CODES[kind] for kind in type(error).__mro__ if kind in _STATUS_CODES), 500)


def error_object(error: Exception) -> ErrorResponse:
    """Return the error object of an exception; one without a name keeps its secrets."""
    if not isinstance(error, APIError):
        return _error_response(_INTERNAL_MESSAGE, 500)
    kind = error.kind if isinstance(error, RateLimitError) else None
    return _error_response(error.message, status_code_of(error), kind=kind, param=error.param, code=error.code)


def error_response(error: Exception) -> Response:
    """Return the answer to a request that failed. What has no name is logged, with its traceback."""
    status_code = status_code_of(error)
    if status_code == 500:
        log.error("request_failed", exc_info=error)
    return _json_response(error_object(error), status_code, _headers(error))


async def handle_api_error(_request: Request, error: Exception) -> Response:
    """Answer with an error of ours."""
    return error_response(error)


async def handle_validation_error(_request: Request, error: Exception) -> Response:
    """Answer with the first thing that is wrong with a body, a path or a query."""
    assert isinstance(error, RequestValidationError)
    is_json_error = error.errors()[0]["type"] == "json_invalid"
    return error_response(unreadable_body() if is_json_error else bad_request(error.errors()))


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Answer with an error of the web framework; it wraps whatever goes wrong while it reads a body."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    if isinstance(error.__cause__, APIError):
        return error_response(error.__cause__)
    if error.status_code == 404:
        return error_response(NotFoundError(f"Invalid URL ({where})"))
    if error.status_code == 405:
        body = _error_response(f"Method not allowed ({where})", 405, code="method_not_supported")
        return _json_response(body, 405, dict(error.headers or {}))
    return error_response(unreadable_body())


def _error_response(
    message: str, status_code: int, *, kind: str | None = None, param: str | None = None, code: str | None = None
) -> ErrorResponse:
    kind = kind or ("server_error" if status_code >= 500 else "invalid_request_error")
    return ErrorResponse(error=Error(message=message, type=kind, param=param, code=code))


def _json_response(body: ErrorResponse, status_code: int, headers: dict[str, str]) -> Response:
    return Response(body.model_dump_json(), status_code, headers, media_type="application/json")


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, AuthenticationError):
        return {"www-authenticate": "Bearer"}
    if isinstance(error, RangeNotSatisfiableError):
        return {"content-range": f"bytes */{error.num_bytes}"}
    if isinstance(error, GenerationTimeoutError | InsufficientStorageError):
        return {"x-should-retry": "false"}  # it would end the same way until somebody changes something
    if isinstance(error, RateLimitError):
        seconds = error.retry_after_seconds
        if math.isinf(seconds):
            return {"x-should-retry": "false"}
        return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(math.ceil(seconds * 1000))}
    return {}
