"""The parts of a `multipart/form-data` body, pulled one after the other while the body arrives.

Holds what the last chunk from the wire brought, and nothing more. What the parts mean is left to `multipart.py`.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from openhearth.errors import BadRequestError

_MAX_HEADER_BYTES = 8 * 2**10
_MAX_HEADERS = 16
_PLAIN_ENCODINGS = ("", "7bit", "8bit", "binary")


@dataclass(frozen=True, slots=True)
class Part:
    """The head of a part. `filename` is `None` for an ordinary field."""

    name: str
    filename: str | None


class _Mark(Enum):
    PART_ENDS = 1
    BODY_ENDS = 2


class MultipartStream:
    """Pull `next_part`, then all of its `content`, then `next_part` again."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Read from `body`. Raises `BadRequestError` if `content_type` is not that of a form."""
        self._body = body
        self._events: deque[Part | bytes | _Mark] = deque()
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )

    async def next_part(self) -> Part | None:
        """Return the next part, `None` behind the last one. Raises `BadRequestError` for a body that is broken."""
        event = await self._next_event()
        return event if isinstance(event, Part) else None

    async def content(self) -> AsyncIterator[bytes]:
        """Return the content of the part. Raises `BadRequestError` for a body that is broken."""
        while isinstance(event := await self._next_event(), bytes):
            yield event

    async def _next_event(self) -> Part | bytes | _Mark:
        while not self._events:
            chunk = await anext(self._body, None)
            if chunk is None:
                raise BadRequestError("The multipart body ends before its last boundary.")
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise BadRequestError(f"The multipart body cannot be read: {error}.") from None
        return self._events.popleft()

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        self._events.append(_part(self._headers))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _on_part_end(self) -> None:
        self._events.append(_Mark.PART_ENDS)

    def _on_end(self) -> None:
        self._events.append(_Mark.BODY_ENDS)


def _boundary(content_type: str) -> bytes:
    media_type, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 0 < len(boundary) <= 70:
        raise BadRequestError("Send the body as multipart/form-data, with a boundary of 1 to 70 characters.")
    return boundary


def _part(headers: dict[bytes, bytes]) -> Part:
    disposition, options = parse_options_header(headers.get(b"content-disposition"))
    if disposition != b"form-data" or b"name" not in options:
        raise BadRequestError("A part of the multipart body has no Content-Disposition: form-data with a name.")
    encoding = headers.get(b"content-transfer-encoding", b"").decode("latin-1").strip().lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise BadRequestError(f"Content-Transfer-Encoding '{encoding}' is not supported; send the bytes as they are.")
    filename = options.get(b"filename")
    return Part(_text(options[b"name"]), None if filename is None else _text(filename))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
