"""What only the filesystem store has to get right: names, temporary files, and a full disk."""

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from openhearth.errors import InsufficientStorageError
from openhearth.store.blobs.filesystem import FilesystemBlobStore, _Writer
from tests.contract.test_blob_store import LARGE, chunks_of, keys, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the store."""
    return tmp_path / "home" / "blobs"


@pytest.fixture
def blobs(folder: Path) -> FilesystemBlobStore:
    """Return an empty store."""
    return FilesystemBlobStore(folder)


@pytest.mark.parametrize(
    "key", ["", ".", "..", "../x", "a/b", "/etc/passwd", "a.partial", "a\0b", "a\n", "é", "a" * 129]
)
async def test_no_key_leaves_the_folder(blobs: FilesystemBlobStore, folder: Path, key: str) -> None:
    """A key that is not made of letters, digits, '-' and '_' is refused by every method, and nothing is written."""
    for call in (
        blobs.put(key, chunks_of(b"x")),
        blobs.open(key),
        blobs.delete(key),
        blobs.exists(key),
        blobs.size(key),
    ):
        with pytest.raises(ValueError, match="is not a key"):
            await call

    assert list(folder.parent.rglob("*")) == [folder]


async def test_the_folder_is_private(folder: Path, blobs: FilesystemBlobStore) -> None:
    """The folder is made when it is missing, and nobody else may look into it."""
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_what_a_crash_left_is_listed_and_deleted(blobs: FilesystemBlobStore, folder: Path) -> None:
    """A temporary file is listed under the key it was meant for, is no blob, and goes when that key is deleted."""
    (folder / "file-1.partial").write_bytes(b"half of it")

    assert await keys(blobs) == ["file-1"]
    assert not await blobs.exists("file-1")

    await blobs.delete("file-1")

    assert list(folder.iterdir()) == []


async def test_what_belongs_to_others_is_left_alone(blobs: FilesystemBlobStore, folder: Path) -> None:
    """A file that is not named like a blob is not listed."""
    (folder / ".DS_Store").touch()
    (folder / "notes.txt").touch()

    assert await keys(blobs) == []


async def test_one_key_is_put_once_at_a_time(blobs: FilesystemBlobStore) -> None:
    """A second put of a key that is being put fails, and the first is not disturbed."""

    async def content() -> AsyncIterator[bytes]:
        yield LARGE
        with pytest.raises(FileExistsError):
            await blobs.put("file-1", chunks_of(b"intruder"))
        yield LARGE

    await blobs.put("file-1", content())

    assert await read(await blobs.open("file-1")) == LARGE + LARGE


async def test_cancelling_waits_for_the_disk(
    blobs: FilesystemBlobStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put that is cancelled while a thread writes lets it finish before it takes the file away."""
    writing, go_on = threading.Event(), threading.Event()
    write = _Writer.write

    def slow_write(self: _Writer, piece: bytearray) -> None:
        writing.set()
        go_on.wait()
        write(self, piece)

    monkeypatch.setattr(_Writer, "write", slow_write)
    putting = asyncio.create_task(blobs.put("file-1", chunks_of(LARGE)))
    await asyncio.to_thread(writing.wait)
    putting.cancel()
    await asyncio.sleep(0)
    assert not putting.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert list(folder.iterdir()) == []


@pytest.fixture
def at_most_one_megabyte() -> Iterator[None]:
    """Let no file of this process grow beyond a megabyte, which is how a full disk feels to it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("at_most_one_megabyte")
async def test_no_room_has_a_name(blobs: FilesystemBlobStore, folder: Path) -> None:
    """What does not fit raises InsufficientStorageError and leaves nothing; what fits is stored afterwards."""
    with pytest.raises(InsufficientStorageError):
        await blobs.put("file-1", chunks_of(LARGE))

    assert list(folder.iterdir()) == []
    assert (await blobs.put("file-2", chunks_of(b"small"))).bytes == 5
