"""How times are written in headers."""

import pytest

from openhearth.api.rate_limits import go_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.0161, "17ms"),
        (0.9991, "1s"),
        (1.0, "1s"),
        (16.227, "16.227s"),
        (59.9999, "1m0s"),
        (360.0, "6m0s"),
        (90.5, "1m30.5s"),
        (3600.0, "1h0m0s"),
        (86_465.25, "24h1m5.25s"),
    ],
)
def test_go_duration(seconds: float, text: str) -> None:
    """Durations look like Go's, and are never shorter than the time they stand for."""
    assert go_duration(seconds) == text
