"""How a pull shows how far it is."""

from io import StringIO

from rich.console import Console
from structlog.testing import capture_logs

from openhearth.catalog.progress import LoggedProgress, TerminalProgress


def drawn(*, total_bytes: int | None) -> str:
    """Return what a terminal shows of one step."""
    screen = StringIO()
    progress = TerminalProgress(Console(file=screen, force_terminal=True, width=100, color_system=None))
    with progress.step("Fetching tiny", total_bytes=total_bytes) as report:
        report(30)
    return screen.getvalue().splitlines()[-2]


def test_a_terminal_shows_how_much_is_done() -> None:
    """A step whose size is known ends with all of its bytes."""
    line = drawn(total_bytes=100)

    assert "Fetching tiny" in line
    assert "100/100 bytes" in line


def test_a_terminal_shows_that_work_goes_on() -> None:
    """A step whose size nobody knows counts nothing."""
    line = drawn(total_bytes=None)

    assert "Fetching tiny" in line
    assert "bytes" not in line


def test_logs_tell_the_beginning_the_quarters_and_the_end() -> None:
    """Without a terminal, a step is a handful of lines, however often it reports."""
    with capture_logs() as lines, LoggedProgress().step("Fetching tiny", total_bytes=2_000_000) as report:
        for done in range(0, 2_000_001, 10_000):
            report(done)

    assert [(line["event"], line.get("size"), line.get("percent")) for line in lines] == [
        ("Fetching tiny", "2.0 MB", None),
        ("Fetching tiny", None, 25),
        ("Fetching tiny", None, 50),
        ("Fetching tiny", None, 75),
        ("Fetching tiny: done", None, None),
    ]


def test_logs_tell_the_beginning_and_the_end_of_a_step_of_unknown_size() -> None:
    """Without a size there are no quarters."""
    with capture_logs() as lines, LoggedProgress().step("Reading tiny") as report:
        report(10)

    assert [line["event"] for line in lines] == ["Reading tiny", "Reading tiny: done"]
