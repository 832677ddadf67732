"""Pictures on their way in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openhearth.errors import BadRequestError
from openhearth.services.image_inputs import MAX_PICTURE_BYTES, Inboxes


async def megabytes(count: int, *, read: list[int]) -> AsyncIterator[bytes]:
    """Return a content of so many megabytes, and keep count of those that were read."""
    for number in range(count):
        read.append(number)
        yield bytes(10**6)


async def test_pictures_are_kept_while_the_inbox_is_open(tmp_path: Path) -> None:
    """A picture lies in a file of its own until its inbox is closed."""
    inboxes = Inboxes(tmp_path / "incoming")

    async with inboxes.open() as inbox:
        first, second = [await inbox.receive(megabytes(3, read=[]), param="image") for _ in range(2)]
        assert first.path != second.path
        assert first.path.stat().st_size == 3 * 10**6

    assert not first.path.exists()


async def test_large_pictures_are_cut_off(tmp_path: Path) -> None:
    """A picture that is too large is refused when so much of it has come, not when all of it has."""
    read: list[int] = []

    async with Inboxes(tmp_path / "incoming").open() as inbox:
        with pytest.raises(BadRequestError, match="50 MB"):
            await inbox.receive(megabytes(1000, read=read), param="image")

    assert len(read) == MAX_PICTURE_BYTES // 10**6


def test_leftovers_go_at_the_start(tmp_path: Path) -> None:
    """What a crash left behind is gone after a restart."""
    (tmp_path / "incoming" / "left").mkdir(parents=True)
    (tmp_path / "incoming" / "left" / "1").touch()

    Inboxes(tmp_path / "incoming")

    assert list((tmp_path / "incoming").iterdir()) == []
