"""Programs as child processes."""

import os
import signal
from pathlib import Path

import pytest

from openhearth.executor.local import LocalExecutor, LocalProgram

PROGRAM = """
import os, sys
print("threads", os.environ["OMP_NUM_THREADS"], flush=True)
print("oops", file=sys.stderr, flush=True)
print("asked", sys.stdin.readline().strip(), flush=True)
print("nice", os.getpriority(os.PRIO_PROCESS, 0), flush=True)
sys.exit(4 if sys.stdin.readline() == "" else 5)
"""


@pytest.fixture
async def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalProgram:
    """Start a program that tells what it was given."""
    (tmp_path / "told.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return await LocalExecutor(num_threads=3, niceness=7).start(["told"], log=tmp_path / "log")


async def test_lines(program: LocalProgram, tmp_path: Path) -> None:
    """Lines come as they are written; threads and priority are set; errors go to the log; asking is heard."""
    lines = program.lines()
    first = await anext(lines)
    await program.ask_to_stop()
    rest = [await anext(lines), await anext(lines)]
    await program.ask_to_stop()

    assert [first, *rest] == [b"threads 3\n", b"asked stop\n", b"nice 7\n"]
    assert await program.wait() == 5
    assert (tmp_path / "log").read_text() == "oops\n"


async def test_kill(program: LocalProgram) -> None:
    """A killed program ends by the signal; killing and asking it again does no harm."""
    await anext(program.lines())

    assert await program.kill() == -signal.SIGKILL
    assert await program.kill() == -signal.SIGKILL
    await program.ask_to_stop()
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)
