"""What the services know of content storage. A blob is written once, whole, under a key; it has no other property.

Keys are made by `openhearth.ids`, never by a caller: letters, digits, `-` and `_`.
"""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What was stored: the number of bytes, and their SHA-256 in hexadecimal digits."""

    bytes: int
    sha256: str


class BlobReader(Protocol):
    """An open blob: iterate it once, then close it."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the content, piece by piece."""
        ...

    async def aclose(self) -> None:
        """Let go of the blob; safe to repeat."""
        ...


class BlobStore(Protocol):
    """Keeps content. Memory use does not grow with the size of a blob, except in the memory store."""

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredBlob:
        """Store `chunks` under `key`; once this returns, the blob survives a power cut.

        When `chunks` raises, or the caller is cancelled, nothing is stored and nothing is left behind. A blob that is
        there already is replaced. Raises `InsufficientStorageError` when there is no room.
        """
        ...

    async def open(self, key: str, *, start: int = 0, stop: int | None = None) -> BlobReader:
        """Open the bytes from `start` up to but not including `stop`; `None` means the end.

        The reader finishes even if the blob is deleted meanwhile. Raises `BlobNotFoundError`.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the blob, and what a broken `put` may have left of it; without either, do nothing."""
        ...

    async def exists(self, key: str) -> bool:
        """Return whether there is a whole blob under `key`."""
        ...

    async def size(self, key: str) -> int:
        """Return the number of bytes. Raises `BlobNotFoundError`."""
        ...

    def list(self) -> AsyncIterator[str]:
        """Return every key that takes up room, in no order: whole blobs, and what broken `put`s left behind."""
        ...
