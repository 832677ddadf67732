"""Whether content is JSONL: every line one JSON object. What the objects hold is left to whoever uses the file."""

import asyncio

import orjson

from openhearth.errors import BadRequestError
from openhearth.store.blobs.base import BlobReader

MAX_LINE_BYTES = 16 * 2**20
_EXPECTED = "Expected file to have JSONL format, where every line is a valid JSON dictionary."


async def check_jsonl(reader: BlobReader) -> None:
    """Read the content to its end, a piece at a time; blank lines may only stand at the end.

    Raises `BadRequestError`, which names the first broken line.
    """
    lines = _Lines()
    async for piece in reader:
        await asyncio.to_thread(lines.feed, piece)
    await asyncio.to_thread(lines.end)


class _Lines:
    """Puts pieces together into lines and checks each; holds one line and one piece at most."""

    def __init__(self) -> None:
        self._number = 0
        self._unfinished = b""
        self._blank_line: int | None = None

    def feed(self, piece: bytes) -> None:
        *whole, self._unfinished = (self._unfinished + piece).split(b"\n")
        for line in whole:
            self._check(line)
        _check_length(self._number + 1, self._unfinished)

    def end(self) -> None:
        self._check(self._unfinished)
        if self._blank_line == 1:
            raise BadRequestError(f"{_EXPECTED} The file is empty.", param="file")

    def _check(self, line: bytes) -> None:
        self._number += 1
        _check_length(self._number, line)
        if not line or line.isspace():
            self._blank_line = self._blank_line or self._number
            return
        if self._blank_line is not None:
            raise _broken(self._blank_line, "is blank")
        if not isinstance(_parsed(self._number, line), dict):
            raise _broken(self._number, "is not a dictionary")


def _check_length(number: int, line: bytes) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise _broken(number, f"is longer than {MAX_LINE_BYTES} bytes")


def _parsed(number: int, line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _broken(number, f"is not valid JSON at column {error.colno}: {error.msg}") from None


def _broken(number: int, problem: str) -> BadRequestError:
    return BadRequestError(f"{_EXPECTED} Line {number} {problem}.", param="file")
