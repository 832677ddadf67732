"""Blobs as files in one folder.

A blob is written to `KEY.partial`, synced, renamed to `KEY`, and the folder synced: what has its own name is whole.
All disk work happens in threads, a piece of a megabyte at a time.
"""

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from threading import Lock

from openhearth.errors import BlobNotFoundError, InsufficientStorageError
from openhearth.store.blobs.base import BlobReader, StoredBlob

_PIECE_BYTES = 2**20  # large enough that the hop to a thread costs little, small enough for a cache
_PARTIAL = ".partial"
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
_STARTS_WRITEBACK = hasattr(os, "posix_fadvise")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FilesystemBlobStore:
    """A `BlobStore` in a folder of the local disk, which is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> StoredBlob:
        """See `BlobStore.put`. Raises `FileExistsError` while another `put` of this key goes on."""
        writer = _Writer(self._path(key))
        with _no_room_errors():
            try:
                await _write_all(writer, chunks)
                return await asyncio.to_thread(writer.commit)
            except BaseException:
                # Not `to_thread`: whoever cancels again must not keep the thread from starting.
                await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, writer.discard))
                raise

    async def open(self, key: str, *, start: int = 0, stop: int | None = None) -> BlobReader:
        """See `BlobStore.open`."""
        path = self._path(key)
        with _not_found_errors(key):
            return await asyncio.to_thread(_Reader, path, start, stop)

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
        for name in await asyncio.to_thread(self._names):
            key = name.removesuffix(_PARTIAL)
            if _KEY.fullmatch(key):
                yield key

    def _names(self) -> Sequence[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return ()

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key: keys are letters, digits, '-' and '_'")
        return self._folder / key


class _Writer:
    """Writes one blob. The methods run in threads; one that its caller has given up may still run beside `discard`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._sha256 = hashlib.sha256()
        self._num_bytes = 0
        self._is_committed = self._is_discarded = False
        self._lock = Lock()

    def write(self, piece: bytearray) -> None:
        with self._lock:
            if not self._is_discarded:
                self._write(piece)

    def commit(self) -> StoredBlob:
        with self._lock:
            if not self._is_discarded:
                self._commit()
            return StoredBlob(bytes=self._num_bytes, sha256=self._sha256.hexdigest())

    def discard(self) -> None:
        with self._lock:
            self._is_discarded = True
            if self._is_committed:
                self._path.unlink(missing_ok=True)
            if self._file is not None:
                self._file.close()
                _partial(self._path).unlink(missing_ok=True)

    def _write(self, piece: bytearray) -> None:
        if self._file is None:
            _make_folder(self._path.parent)
            self._file = FileIO(_partial(self._path), "xb")
        self._sha256.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        if _STARTS_WRITEBACK:
            # What has been written will not be needed: Linux starts to put it on the disk now, so that little is left
            # to do when it is synced.
            os.posix_fadvise(self._file.fileno(), self._num_bytes, len(piece), os.POSIX_FADV_DONTNEED)
        self._num_bytes += len(piece)

    def _commit(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        _partial(self._path).rename(self._path)
        self._is_committed = True
        _sync_folder(self._path.parent)


async def _write_all(writer: _Writer, chunks: AsyncIterable[bytes]) -> None:
    """Write `chunks` in pieces, one while the next arrives; at least one, so that there is a file to commit."""
    piece = bytearray()
    writing: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            piece += chunk
            if len(piece) >= _PIECE_BYTES:
                if writing is not None:
                    await writing
                writing = asyncio.get_running_loop().run_in_executor(None, writer.write, piece)
                piece = bytearray()
    finally:
        if writing is not None:
            await writing
    await asyncio.to_thread(writer.write, piece)


class _Reader:
    """Reads one blob, which stays on the disk until the reader is closed, whatever becomes of its name."""

    def __init__(self, path: Path, start: int, stop: int | None) -> None:
        self._file = FileIO(path)
        self._file.seek(start)
        self._stop = stop
        self._lock = Lock()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await asyncio.to_thread(self._read):
            yield piece

    async def aclose(self) -> None:
        with self._lock:  # a read that its caller has given up may still go on, for as long as one piece takes
            self._file.close()

    def _read(self) -> bytes:
        with self._lock:
            if self._file.closed:
                return b""
            left = _PIECE_BYTES if self._stop is None else self._stop - self._file.tell()
            return self._file.read(max(0, min(_PIECE_BYTES, left)))


def _partial(path: Path) -> Path:
    return path.with_name(path.name + _PARTIAL)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder.parent)


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
