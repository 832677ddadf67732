"""What only the filesystem store has to get right: names, temporary files, and a full disk."""

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from openhearth.errors import InsufficientStorageError
from openhearth.store.blobs.filesystem import FilesystemBlobStore, _Writer
from tests.contract.test_blob_store import LARGE, chunks_of, keys, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of the store, alone in its home."""
    folder = tmp_path / "home" / "blobs"
    folder.mkdir(parents=True)
    return folder


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


async def test_the_folder_is_made_and_private(folder: Path) -> None:
    """A store without a folder is empty; the first blob makes one that nobody else may look into."""
    blobs = FilesystemBlobStore(folder / "new")
    before = await keys(blobs)

    await blobs.put("file-1", chunks_of(b"x"))

    assert (before, await keys(blobs)) == ([], ["file-1"])
    assert (folder / "new").stat().st_mode & 0o777 == 0o700


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


async def test_one_key_is_put_once_at_a_time(blobs: FilesystemBlobStore, folder: Path) -> None:
    """A second put of a key that is being put fails, and the first is not disturbed."""

    async def content() -> AsyncIterator[bytes]:
        yield LARGE
        while not list(folder.rglob("*.partial")):  # it is made in another thread
            await asyncio.sleep(0.001)
        with pytest.raises(FileExistsError):
            await blobs.put("file-1", chunks_of(b"intruder"))
        yield LARGE

    await blobs.put("file-1", content())

    assert await read(await blobs.open("file-1")) == LARGE + LARGE


class Gate:
    """Holds a method of the writer up, in its thread, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.reached, self.opened, self.passed = threading.Event(), threading.Event(), threading.Event()
        original = getattr(_Writer, method)

        def held_up(*arguments: Any) -> Any:
            self.reached.set()
            self.opened.wait()
            result = original(*arguments)
            self.passed.set()
            return result

        monkeypatch.setattr(_Writer, method, held_up)


@pytest.mark.parametrize("method", ["_write", "_commit"])
async def test_cancelling_waits_for_the_disk(
    blobs: FilesystemBlobStore, folder: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A put that is cancelled while a thread is at the disk lets it finish before it takes the file away."""
    gate = Gate(monkeypatch, method)
    putting = asyncio.create_task(blobs.put("file-1", chunks_of(LARGE)))
    await asyncio.to_thread(gate.reached.wait)
    putting.cancel()
    await asyncio.wait([putting], timeout=0.05)
    assert not putting.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("method", ["write", "commit"])
async def test_a_thread_that_comes_too_late_does_nothing(
    blobs: FilesystemBlobStore, folder: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A put that is cancelled before its thread has reached the disk keeps it from writing afterwards."""
    gate = Gate(monkeypatch, method)
    putting = asyncio.create_task(blobs.put("file-1", chunks_of(LARGE)))
    await asyncio.to_thread(gate.reached.wait)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    gate.opened.set()
    await asyncio.to_thread(gate.passed.wait)

    assert list(folder.iterdir()) == []


async def test_a_reader_may_be_closed_while_it_reads(blobs: FilesystemBlobStore) -> None:
    """Closing a reader whose caller was cancelled in the middle of a read ends it in peace."""
    await blobs.put("file-1", chunks_of(LARGE))

    for _ in range(20):
        reader = await blobs.open("file-1")
        reading = asyncio.create_task(read(reader))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await reader.aclose()

    assert await read(await blobs.open("file-1")) == LARGE


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


async def test_the_next_piece_arrives_while_one_is_written(
    blobs: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receiving does not wait for the disk, as long as it is one piece ahead at most."""
    write, has_gone_on, num_waits = _Writer.write, threading.Event(), 0

    def write_late(writer: _Writer, piece: bytearray) -> None:
        nonlocal num_waits
        num_waits += has_gone_on.wait(timeout=60)
        write(writer, piece)

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(2**20)
        has_gone_on.set()  # only reached if the first piece need not be written first
        yield b"rest"

    monkeypatch.setattr(_Writer, "write", write_late)
    stored = await blobs.put("file-1", chunks())

    assert (stored.bytes, num_waits) == (2**20 + 4, 2)
