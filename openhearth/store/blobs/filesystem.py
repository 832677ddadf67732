"""Blobs as files in one folder.

A blob is written to `KEY.partial`, synced, renamed to `KEY`, and the folder synced: what has its own name is whole.
All disk work happens in threads, a piece of a megabyte at a time.
"""

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from openhearth.errors import BlobNotFoundError, InsufficientStorageError
from openhearth.store.blobs.base import BlobReader, StoredBlob

P = ParamSpec("P")
T = TypeVar("T")

_PIECE_BYTES = 2**20  # large enough that the hop to a thread costs little, small enough for a cache
_PARTIAL = ".partial"
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FilesystemBlobStore:
    """A `BlobStore` in a folder of the local disk, which is made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredBlob:
        """See `BlobStore.put`. Raises `FileExistsError` while another `put` of this key goes on."""
        writer = _Writer(self._path(key))
        with _no_room_errors():
            try:
                await _in_thread(writer.open)
                await _write_all(writer, chunks)
                return await _in_thread(writer.commit)
            except BaseException:
                await _in_thread(writer.discard)
                raise

    async def open(self, key: str, *, start: int = 0, stop: int | None = None) -> BlobReader:
        """See `BlobStore.open`."""
        path = self._path(key)
        with _not_found_errors(key):
            return await asyncio.to_thread(_Reader.open, path, start, stop)

    async def delete(self, key: str) -> None:
        """See `BlobStore.delete`."""
        path = self._path(key)

        def unlink() -> None:
            path.unlink(missing_ok=True)
            _partial(path).unlink(missing_ok=True)

        await asyncio.to_thread(unlink)

    async def exists(self, key: str) -> bool:
        """See `BlobStore.exists`."""
        return await asyncio.to_thread(self._path(key).is_file)

    async def size(self, key: str) -> int:
        """See `BlobStore.size`."""
        path = self._path(key)
        with _not_found_errors(key):
            return (await asyncio.to_thread(path.stat)).st_size

    async def list(self) -> AsyncIterator[str]:
        """See `BlobStore.list`. What is not named like a blob is somebody else's, and is left out."""
        for name in await asyncio.to_thread(os.listdir, self._folder):
            key = name.removesuffix(_PARTIAL)
            if _KEY.fullmatch(key):
                yield key

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key: keys are letters, digits, '-' and '_'")
        return self._folder / key


class _Writer:
    """Writes one blob; its methods run in threads, one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._sha256 = hashlib.sha256()
        self._num_bytes = 0

    def open(self) -> None:
        self._file = FileIO(_partial(self._path), "xb")

    def write(self, piece: bytearray) -> None:
        assert self._file is not None
        self._sha256.update(piece)
        self._num_bytes += len(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def commit(self) -> StoredBlob:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        _partial(self._path).rename(self._path)
        _sync_folder(self._path.parent)
        return StoredBlob(bytes=self._num_bytes, sha256=self._sha256.hexdigest())

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            _partial(self._path).unlink(missing_ok=True)


async def _write_all(writer: _Writer, chunks: AsyncIterable[bytes]) -> None:
    piece = bytearray()
    async for chunk in chunks:
        piece += chunk
        if len(piece) >= _PIECE_BYTES:
            await _in_thread(writer.write, piece)
            piece = bytearray()
    await _in_thread(writer.write, piece)


class _Reader:
    """Reads one blob, which stays on the disk until the reader is closed, whatever becomes of its name."""

    def __init__(self, file: FileIO, *, stop: int | None) -> None:
        self._file = file
        self._stop = stop

    @classmethod
    def open(cls, path: Path, start: int, stop: int | None) -> "_Reader":
        file = FileIO(path)
        file.seek(start)
        return cls(file, stop=stop)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await _in_thread(self._read):
            yield piece

    async def aclose(self) -> None:
        self._file.close()

    def _read(self) -> bytes:
        left = _PIECE_BYTES if self._stop is None else self._stop - self._file.tell()
        return self._file.read(max(0, min(_PIECE_BYTES, left)))


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread. A caller that is cancelled stays until the thread is done with its file."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _partial(path: Path) -> Path:
    return path.with_name(path.name + _PARTIAL)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _no_room_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise InsufficientStorageError("The server's disk is full.") from error
        raise


@contextmanager
def _not_found_errors(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BlobNotFoundError(key) from None
