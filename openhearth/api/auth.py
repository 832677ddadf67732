"""Who is asking: takes the key out of the Authorization header and puts the caller into the request's state.

Stands before the routes, so that none can be forgotten and no body is read for a stranger. Leaves deciding who may
enter to `services/api_keys.py`.
"""

import base64
import binascii

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from openhearth.services.api_keys import APIKeys


class Authentication:
    """Lets a request under `/v1/` through if its key opens a project."""

    def __init__(self, app: ASGIApp, *, api_keys: APIKeys) -> None:
        self._app = app
        self._api_keys = api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            secret = _secret(Headers(scope=scope).get("authorization", ""))
            caller = await self._api_keys.authenticate(secret)
            scope.setdefault("state", {}).update(caller=caller, project=caller.project)
        await self._app(scope, receive, send)


def _secret(authorization: str) -> str | None:
    """Return the bearer token, or the password of Basic; `None` if there is neither."""
    scheme, _, credentials = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip() or None
        case "basic":
            return _basic_password(credentials) or None
    return None


def _basic_password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    user, _, password = decoded.partition(":")
    return "" if user else password
