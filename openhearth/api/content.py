"""Stored content as an answer: whole or in part, under its name (RFC 9110 section 14, RFC 6266).

Leaves finding the content, and who may read it, to the services.
"""

import re
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from openhearth.errors import RangeNotSatisfiableError
from openhearth.services.files import FileContent
from openhearth.store.blobs.base import BlobReader

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
_SEPARATOR = re.compile(r"[/\\]")
_UNSAFE = re.compile(r'[^ -~]|["%/\\]')  # not printable ASCII, or with a meaning in the header or as a path


class ContentResponse(StreamingResponse):
    """Sends what a reader gives, and closes it whatever happens."""

    def __init__(self, reader: BlobReader, *, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(reader, status_code, headers, media_type="application/octet-stream")
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the content."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._reader.aclose()


async def content_response(content: FileContent, request_headers: Headers) -> ContentResponse:
    """Return the answer to a request for `content`; one range is honoured, several are answered with the whole.

    Raises `RangeNotSatisfiableError` and what `content.open` raises.
    """
    etag = f'"{content.sha256}"'
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": content_disposition(content.filename),
        "etag": etag,
    }
    is_same = request_headers.get("if-range", etag) == etag
    span = requested_range(request_headers.get("range", ""), content.bytes) if is_same else None
    start, stop = span or (0, content.bytes)
    headers["content-length"] = str(stop - start)
    if span is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{content.bytes}"
    reader = await content.open(start=start, stop=stop)
    return ContentResponse(reader, status_code=206 if span else 200, headers=headers)


def requested_range(header: str, num_bytes: int) -> tuple[int, int] | None:
    """Return where the range starts and where it stops; `None` if the header asks for nothing that is understood.

    Raises `RangeNotSatisfiableError` if no byte of it exists.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match[0].endswith("=-"):
        return None
    first, last = match.groups()
    if first == "":
        start, stop = max(0, num_bytes - int(last)), num_bytes
    else:
        start, stop = int(first), min(int(last) + 1, num_bytes) if last else num_bytes
        if last and int(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiableError(num_bytes)
    return start, stop


def content_disposition(filename: str) -> str:
    """Return the header that gives a download its name; what is not plain ASCII is sent in UTF-8 as well."""
    plain = _UNSAFE.sub("_", filename)
    header = f'attachment; filename="{plain}"'
    if plain == filename:
        return header
    return f"{header}; filename*=UTF-8''{quote(_SEPARATOR.sub('_', filename), safe='')}"
