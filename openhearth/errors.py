"""Every error openhearth raises on purpose. `api/error_handlers.py` maps each to a status; nobody else knows one.

OpenHearthError
├── ConfigurationError              the operator has to change something; printed as one sentence
│   └── HomeInUseError              another server owns this home
├── ModelLoadError                  a model exists but cannot be loaded
├── BlobNotFoundError               content that should be stored is not there
└── APIError                        the caller sees message, param and code
    ├── BadRequestError
    │   ├── MissingRequiredParameterError
    │   ├── UnknownParameterError
    │   ├── UnsupportedParameterError
    │   ├── InvalidValueError
    │   ├── ContextLengthExceededError
    │   └── RangeNotSatisfiableError    carries num_bytes
    ├── AuthenticationError
    │   ├── MissingAPIKeyError
    │   └── InvalidAPIKeyError
    ├── PermissionDeniedError
    ├── NotFoundError
    │   └── ModelNotFoundError
    ├── RequestTooLargeError
    ├── RateLimitError              carries retry_after_seconds and kind
    ├── GenerationTimeoutError
    └── ServiceUnavailableError
        └── InsufficientStorageError
"""

from typing import Literal

RateKind = Literal["requests", "tokens"]


class OpenHearthError(Exception):
    """The root of every error that openhearth raises on purpose."""


class ConfigurationError(OpenHearthError):
    """The operator has to change something. The message is one sentence that says what."""


class HomeInUseError(ConfigurationError):
    """Another process owns this home."""


class ModelLoadError(OpenHearthError):
    """A model was found but cannot be loaded; the message says why."""


class BlobNotFoundError(OpenHearthError):
    """There is no blob under this key."""


class APIError(OpenHearthError):
    """What a caller of the API gets to see: the members of the OpenAI error object."""

    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class BadRequestError(APIError):
    """The request cannot be carried out as it stands."""


class MissingRequiredParameterError(BadRequestError):
    """A parameter that has no default was not sent."""

    code = "missing_required_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Missing required parameter: '{param}'.", param=param)


class UnknownParameterError(BadRequestError):
    """A parameter that the reference does not have."""

    code = "unknown_parameter"

    def __init__(self, param: str) -> None:
        super().__init__(f"Unknown parameter: '{param}'.", param=param)


class UnsupportedParameterError(BadRequestError):
    """A parameter of the reference that this model or server cannot honour."""

    code = "unsupported_parameter"


class InvalidValueError(BadRequestError):
    """A value outside what its parameter allows."""

    code = "invalid_value"


class ContextLengthExceededError(BadRequestError):
    """Prompt and completion together do not fit into the model's context."""

    code = "context_length_exceeded"


class RangeNotSatisfiableError(BadRequestError):
    """A range of bytes was asked for, none of which exists."""

    def __init__(self, num_bytes: int) -> None:
        super().__init__(f"The range is outside the {num_bytes} bytes of this content.", param="Range")
        self.num_bytes = num_bytes


class AuthenticationError(APIError):
    """The caller did not prove who it is."""


class MissingAPIKeyError(AuthenticationError):
    """No key was sent, and this server wants one."""

    def __init__(self) -> None:
        super().__init__(
            "You didn't provide an API key. Send it in an Authorization header as a bearer token "
            "(Authorization: Bearer YOUR_KEY)."
        )


class InvalidAPIKeyError(AuthenticationError):
    """The key is unknown or revoked."""

    code = "invalid_api_key"

    def __init__(self, masked_key: str) -> None:
        super().__init__(
            f"Incorrect API key provided: {masked_key}. Make one with `openhearth keys create NAME` on the server."
        )


class PermissionDeniedError(APIError):
    """The caller is known but may not do this."""


class NotFoundError(APIError):
    """There is no such object, or it belongs to another project."""


class ModelNotFoundError(NotFoundError):
    """No model or alias has this name."""

    code = "model_not_found"

    def __init__(self, model: str, *, param: str | None = None) -> None:
        super().__init__(f"The model `{model}` does not exist or you do not have access to it.", param=param)


class RequestTooLargeError(APIError):
    """The body is larger than this server accepts."""


class RateLimitError(APIError):
    """The server has as much work as it takes on, or the caller has had its share of `kind`.

    Try again after `retry_after_seconds`; infinity says that waiting does not help.
    """

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_seconds: float, kind: RateKind = "requests") -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.kind = kind


class GenerationTimeoutError(APIError):
    """A generation took longer than this server allows one request."""

    code = "request_timeout"


class ServiceUnavailableError(APIError):
    """The server cannot do this now, through no fault of the request."""


class InsufficientStorageError(ServiceUnavailableError):
    """The disk or the quota is full."""
