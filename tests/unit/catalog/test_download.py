"""Fetching one file of known size and SHA-256."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest

from openhearth.catalog.download import MAX_FRUITLESS_ATTEMPTS, Downloader
from openhearth.errors import ConfigurationError
from tests.unit.catalog.file_server import FileServer, serving

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def server() -> Iterator[FileServer]:
    """Return a running server of `CONTENT`."""
    with serving(FileServer(CONTENT)) as running:
        yield running


def fetch(server: FileServer, part: Path, *, content: bytes = CONTENT) -> tuple[bytes, list[int]]:
    """Fetch from `server`, expecting `content`; return what came and what was reported."""
    reports: list[int] = []
    with httpx2.Client() as client:
        file = Downloader(client, retry_delay_seconds=0).fetch(
            server.url, part, size_bytes=len(content), sha256=sha256(content).hexdigest(), report=reports.append
        )
    return file.read_bytes(), reports


def test_a_file_is_fetched(server: FileServer, tmp_path: Path) -> None:
    """A file arrives whole, and the last report is its size."""
    content, reports = fetch(server, tmp_path / "part")

    assert content == CONTENT
    assert reports[-1] == len(CONTENT)
    assert reports == sorted(reports)


def test_a_broken_line_is_taken_up_where_it_broke(server: FileServer, tmp_path: Path) -> None:
    """When the line breaks, the next attempt asks for the rest only."""
    server.plan = [("send", 500_000), ("send", 300_000)]

    content, _ = fetch(server, tmp_path / "part")

    assert content == CONTENT
    assert server.ranges == [None, "bytes=500000-", "bytes=800000-"]


def test_a_later_run_goes_on_where_the_first_stopped(server: FileServer, tmp_path: Path) -> None:
    """What a run that was killed left behind is not fetched again."""
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:700_000])

    content, reports = fetch(server, part)

    assert content == CONTENT
    assert server.ranges == ["bytes=700000-"]
    assert reports[0] > 700_000


def test_a_file_that_is_there_is_not_asked_for(server: FileServer, tmp_path: Path) -> None:
    """A file that is already complete needs no request."""
    part = tmp_path / "part"
    part.write_bytes(CONTENT)

    content, _ = fetch(server, part)

    assert content == CONTENT
    assert server.ranges == []


def test_a_server_without_ranges_is_read_from_the_start(server: FileServer, tmp_path: Path) -> None:
    """A server that ignores the wish for a range sends everything, and nothing is doubled."""
    server.understands_ranges = False
    server.plan = [("send", 500_000)]

    content, _ = fetch(server, tmp_path / "part")

    assert content == CONTENT


def test_a_spoilt_part_is_replaced(server: FileServer, tmp_path: Path) -> None:
    """If what an earlier run left turns out wrong, the file is fetched again from the start."""
    part = tmp_path / "part"
    part.write_bytes(b"x" * 700_000)

    content, _ = fetch(server, part)

    assert content == CONTENT
    assert server.ranges == ["bytes=700000-", None]


def test_wrong_content_is_refused_and_removed(server: FileServer, tmp_path: Path) -> None:
    """Content with another SHA-256 is never returned, and does not stay to be found."""
    part = tmp_path / "part"

    with pytest.raises(ConfigurationError, match="its SHA-256 is"):
        fetch(server, part, content=CONTENT[::-1])

    assert not part.exists()


def test_a_refusal_is_final(server: FileServer, tmp_path: Path) -> None:
    """An answer such as 404 is reported at once."""
    server.plan = [("status", 404)]

    with pytest.raises(ConfigurationError, match="answers 404"):
        fetch(server, tmp_path / "part")

    assert len(server.ranges) == 1


def test_a_server_in_trouble_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    """An answer such as 503 is worth another attempt."""
    server.plan = [("status", 503), ("status", 502)]

    content, _ = fetch(server, tmp_path / "part")

    assert content == CONTENT


def test_attempts_that_bring_nothing_come_to_an_end(server: FileServer, tmp_path: Path) -> None:
    """A line that stays broken is given up, and what arrived before is kept for the next run."""
    part = tmp_path / "part"
    server.plan = [("send", 1000), *[("send", 0)] * MAX_FRUITLESS_ATTEMPTS]

    with pytest.raises(ConfigurationError, match="what arrived is kept"):
        fetch(server, part)

    assert part.read_bytes() == CONTENT[:1000]


def test_a_file_of_this_machine_is_used_where_it_lies(tmp_path: Path) -> None:
    """A file URL is checked, and nothing is copied."""
    original = tmp_path / "a wheel.whl"
    original.write_bytes(CONTENT)
    server = FileServer(CONTENT, url=original.as_uri())

    content, _ = fetch(server, tmp_path / "part")

    assert content == CONTENT
    assert not (tmp_path / "part").exists()
