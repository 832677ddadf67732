"""Images behind links that need no key: signed, good for an hour, gone after it.

An image's name says when it goes and what it is, so a link needs no row: the blob is the truth.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

from openhearth import clock
from openhearth.engine.base import ImageFormat
from openhearth.errors import BlobNotFoundError, NotFoundError
from openhearth.store.blobs.base import BlobReader, BlobStore

LIFETIME_SECONDS = 3600
_NAME = re.compile(r"img_(?P<expires_at>\d{1,12})_(?P<format>png|jpeg|webp)_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class LinkedImage:
    """An image behind a link, open for reading; close the reader."""

    reader: BlobReader
    format: ImageFormat
    bytes: int
    seconds_left: int


class ImageLinks:
    """Makes links, follows them, and removes what they led to. `secret` signs; whoever has it can make links."""

    def __init__(self, blobs: BlobStore, *, secret: bytes, now: clock.Clock = clock.now) -> None:
        self._blobs = blobs
        self._secret = secret
        self._now = now

    async def publish(self, data: bytes, file_format: ImageFormat) -> str:
        """Store an image and return the path of its link. Raises `InsufficientStorageError`."""
        name = f"img_{int(self._now()) + LIFETIME_SECONDS}_{file_format}_{secrets.token_hex(16)}"
        await self._blobs.put(name, _in_one_piece(data))
        return f"/images/{name}?signature={self._sign(name)}"

    async def open(self, name: str, *, signature: str) -> LinkedImage:
        """Return the image of a link. Raises `NotFoundError` if it has expired or was never made here."""
        match = _NAME.fullmatch(name)
        if match is None or not hmac.compare_digest(self._sign(name).encode(), signature.encode()):
            raise _no_such_link()
        seconds_left = int(match["expires_at"]) - self._now()
        if seconds_left <= 0:
            raise _no_such_link()
        try:
            num_bytes, reader = await self._blobs.size(name), await self._blobs.open(name)
        except BlobNotFoundError:
            raise _no_such_link() from None
        return LinkedImage(reader, cast("ImageFormat", match["format"]), num_bytes, int(seconds_left))

    async def expire(self) -> int:
        """Remove the images whose time has come; return how many."""
        num_removed = 0
        async for name in self._blobs.list():
            match = _NAME.fullmatch(name)
            if match is not None and int(match["expires_at"]) <= self._now():
                await self._blobs.delete(name)
                num_removed += 1
        return num_removed

    def _sign(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()


async def _in_one_piece(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _no_such_link() -> NotFoundError:
    return NotFoundError("There is no image behind this link: it has expired, or is not one of this server's.")
