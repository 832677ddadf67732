"""What every blob store does, run over all of them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth.errors import BlobNotFoundError
from openhearth.store.blobs.base import BlobReader, BlobStore
from openhearth.store.blobs.filesystem import FilesystemBlobStore
from openhearth.store.blobs.memory import MemoryBlobStore

LARGE = bytes(range(256)) * 10_000  # 2.56 MB, several pieces of a store that works in megabytes


@pytest.fixture(params=["filesystem", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Return an empty store, once of each kind."""
    return FilesystemBlobStore(tmp_path / "blobs") if request.param == "filesystem" else MemoryBlobStore()


async def chunks_of(content: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    """Return the content in chunks."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(reader: BlobReader) -> bytes:
    """Return all that a reader gives, and close it."""
    content = b"".join([piece async for piece in reader])
    await reader.aclose()
    return content


async def keys(blobs: BlobStore) -> list[str]:
    """Return the keys in order."""
    return sorted([key async for key in blobs.list()])


@pytest.mark.parametrize("content", [b"", b"a", LARGE], ids=["empty", "small", "large"])
async def test_what_was_put_is_read(blobs: BlobStore, content: bytes) -> None:
    """A blob reads back as it was put, and put reports its size and its SHA-256."""
    stored = await blobs.put("file-1", chunks_of(content))

    assert await read(await blobs.open("file-1")) == content
    assert (stored.bytes, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert await blobs.size("file-1") == len(content)
    assert await blobs.exists("file-1")


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (5, 10), (1_000_000, 2_200_000), (2_559_999, None), (7, None), (3, 3), (0, 9_999_999)]
)
async def test_a_range_is_read(blobs: BlobStore, start: int, stop: int | None) -> None:
    """Opening with bounds gives exactly the bytes from start up to but not including stop."""
    await blobs.put("file-1", chunks_of(LARGE))

    assert await read(await blobs.open("file-1", start=start, stop=stop)) == LARGE[start:stop]


async def test_what_is_not_there_is_said_so(blobs: BlobStore) -> None:
    """Opening or measuring a blob that is not there raises BlobNotFoundError; deleting it does nothing."""
    with pytest.raises(BlobNotFoundError):
        await blobs.open("file-1")
    with pytest.raises(BlobNotFoundError):
        await blobs.size("file-1")
    await blobs.delete("file-1")

    assert not await blobs.exists("file-1")


async def test_a_deleted_blob_is_gone(blobs: BlobStore) -> None:
    """A deleted blob is neither found nor listed, and the others stay."""
    await blobs.put("file-1", chunks_of(b"one"))
    await blobs.put("file-2", chunks_of(b"two"))

    await blobs.delete("file-1")

    assert not await blobs.exists("file-1")
    assert await keys(blobs) == ["file-2"]


async def test_a_second_put_replaces_the_first(blobs: BlobStore) -> None:
    """Putting under a key that is taken replaces the content."""
    await blobs.put("file-1", chunks_of(LARGE))

    await blobs.put("file-1", chunks_of(b"new"))

    assert await read(await blobs.open("file-1")) == b"new"


async def test_a_broken_put_leaves_nothing(blobs: BlobStore) -> None:
    """When the content breaks off, the error passes through and nothing is left behind."""

    async def breaking() -> AsyncIterator[bytes]:
        yield LARGE
        raise ConnectionError("the caller went away")

    with pytest.raises(ConnectionError):
        await blobs.put("file-1", breaking())

    assert not await blobs.exists("file-1")
    assert await keys(blobs) == []


async def test_a_cancelled_put_leaves_nothing(blobs: BlobStore) -> None:
    """When the caller is cancelled in the middle, nothing is left behind."""
    half_way = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield LARGE
        half_way.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(blobs.put("file-1", stalling()))
    await half_way.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert not await blobs.exists("file-1")
    assert await keys(blobs) == []


async def test_a_blob_appears_only_when_it_is_whole(blobs: BlobStore) -> None:
    """While a put goes on, the blob is not there."""

    async def watching() -> AsyncIterator[bytes]:
        yield LARGE
        assert not await blobs.exists("file-1")
        yield LARGE

    stored = await blobs.put("file-1", watching())

    assert stored.bytes == 2 * len(LARGE)
    assert await blobs.exists("file-1")


async def test_a_reader_outlives_the_blob(blobs: BlobStore) -> None:
    """A reader that was opened before the blob was deleted reads it to the end."""
    await blobs.put("file-1", chunks_of(LARGE))
    reader = await blobs.open("file-1")

    await blobs.delete("file-1")

    assert await read(reader) == LARGE
    assert not await blobs.exists("file-1")


async def test_closing_early_and_again_is_fine(blobs: BlobStore) -> None:
    """A reader may be closed before its end, without having been read, and twice."""
    await blobs.put("file-1", chunks_of(LARGE))
    begun = await blobs.open("file-1")
    first = await anext(aiter(begun))
    unread = await blobs.open("file-1")
    for reader in (begun, begun, unread):
        await reader.aclose()

    assert LARGE.startswith(first)


async def test_many_at_once(blobs: BlobStore) -> None:
    """Blobs that are put at the same time do not mix."""
    contents = {f"file-{number}": bytes([number]) * 1_500_000 for number in range(8)}

    await asyncio.gather(*(blobs.put(key, chunks_of(content)) for key, content in contents.items()))

    assert {key: await read(await blobs.open(key)) for key in contents} == contents
