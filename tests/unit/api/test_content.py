"""Ranges, and the names of downloads."""

import pytest

from openhearth.api.content import content_disposition, requested_range
from openhearth.errors import RangeNotSatisfiableError


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("Bytes= 5 - 9 ", (5, 10)),
    ],
)
def test_a_range_is_understood(header: str, expected: tuple[int, int]) -> None:
    """A first and a last byte, an open end, and a suffix are understood; what lies behind the end is cut off."""
    assert requested_range(header, 100) == expected


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=9-5", "bytes=a-b", "bytes=0-1,5-6", "lines=1-2", "bytes=" + "9" * 99],
)
def test_what_is_not_understood_is_no_range(header: str) -> None:
    """Several ranges, other units and nonsense are ignored, as the standard allows."""
    assert requested_range(header, 100) is None


@pytest.mark.parametrize(
    ("header", "num_bytes"),
    [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_a_range_without_bytes_is_refused(header: str, num_bytes: int) -> None:
    """A range of which no byte exists is refused, with the size."""
    with pytest.raises(RangeNotSatisfiableError) as caught:
        requested_range(header, num_bytes)

    assert caught.value.num_bytes == num_bytes


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("train.jsonl", 'attachment; filename="train.jsonl"'),
        ("my file.txt", 'attachment; filename="my file.txt"'),
        ("größe.txt", "attachment; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"),
        ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        ("../../etc/passwd", "attachment; filename=\".._.._etc_passwd\"; filename*=UTF-8''.._.._etc_passwd"),
        ("a\r\nSet-Cookie: x", "attachment; filename=\"a__Set-Cookie: x\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
    ],
)
def test_a_download_has_a_safe_name(filename: str, header: str) -> None:
    """A plain name is sent as it is; any other in UTF-8 too, and never as a path or a second header."""
    assert content_disposition(filename) == header
    assert header.isascii()
