"""How log lines look."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from openhearth.logs import LogFormat, configure_logging


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**configuration)


def written(capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> list[str]:
    """Log an event of ours and one of a library, and return the lines."""
    configure_logging("info", log_format)
    structlog.get_logger("openhearth.test").info("a model is ready", model="tiny")
    logging.getLogger("a.library").warning("the line is %s", "slow")
    logging.getLogger("a.library").debug("nobody asked")
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_machines_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one JSON object, whoever wrote it."""
    ours, library = (json.loads(line) for line in written(capsys, "json"))

    assert list(ours)[:3] == ["timestamp", "level", "event"]
    assert (ours["event"], ours["model"], ours["level"]) == ("a model is ready", "tiny", "info")
    assert (library["event"], library["logger"], library["level"]) == ("the line is slow", "a.library", "warning")
    assert ours["timestamp"].endswith("Z")


def test_people_get_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line begins with the time and reads from left to right."""
    ours, library = written(capsys, "console")

    assert "a model is ready" in ours
    assert "model=tiny" in ours
    assert "the line is slow" in library


def test_without_a_terminal_lines_are_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """The format follows the terminal unless it is set."""
    assert all(json.loads(line) for line in written(capsys, "auto"))


def test_errors_carry_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """A line about an exception holds the traceback as one member."""
    configure_logging("info", "json")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("openhearth.test").exception("it failed")

    line = json.loads(capsys.readouterr().err)
    assert "RuntimeError: broken" in line["exception"]
