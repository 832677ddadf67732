"""Reading JSON bodies by the letter: UTF-8, no NaN, no half of a surrogate pair, bounded depth."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response


class StrictJSONRequest(Request):
    """A request whose JSON body is read by orjson."""

    async def json(self) -> Any:
        """Return the body's value. Raises `orjson.JSONDecodeError`, which is a `json.JSONDecodeError`."""
        return orjson.loads(await self.body())


class StrictJSONRoute(APIRoute):
    """A route that reads its body as `StrictJSONRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, behind a change of request class."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictJSONRequest(request.scope, request.receive))

        return handle_strictly
