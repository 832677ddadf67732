"""What happens around every route."""

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from openhearth.api.middleware import RequestContext


async def test_a_caller_that_goes_away_is_no_error() -> None:
    """When the body breaks off because the caller went away, nothing is answered and nothing is reported but that."""
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ClientDisconnect

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    with capture_logs() as logs:
        await RequestContext(app)({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)

    assert sent == []
    assert [(entry["event"], entry["status"]) for entry in logs] == [("request", None)]
