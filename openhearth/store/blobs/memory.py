"""Blobs in memory, for tests and for servers that are to keep nothing."""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator

from openhearth.errors import BlobNotFoundError
from openhearth.store.blobs.base import BlobReader, StoredBlob

_PIECE_BYTES = 2**20


class MemoryBlobStore:
    """A `BlobStore` that is as large as the memory and as lasting as the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredBlob:
        """See `BlobStore.put`."""
        content = b"".join([chunk async for chunk in chunks])
        self._blobs[key] = content
        return StoredBlob(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    async def open(self, key: str, *, start: int = 0, stop: int | None = None) -> BlobReader:
        """See `BlobStore.open`."""
        return _MemoryReader(self._content(key)[start:stop])

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        self._blobs.pop(key, None)

    async def exists(self, key: str) -> bool:
        """See `BlobStore.exists`."""
        return key in self._blobs

    async def size(self, key: str) -> int:
        """See `BlobStore.size`."""
        return len(self._content(key))

    async def list(self) -> AsyncIterator[str]:
        """See `BlobStore.list`."""
        for key in tuple(self._blobs):
            yield key

    def _content(self, key: str) -> bytes:
        try:
            return self._blobs[key]
        except KeyError:
            raise BlobNotFoundError(key) from None


class _MemoryReader:
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), _PIECE_BYTES):
            yield self._content[start : start + _PIECE_BYTES]

    async def aclose(self) -> None:
        self._content = b""
