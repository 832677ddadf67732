"""Several trainers as one: a process for each device, in the roles that accelerate reads from the environment.

They live and die together. Whoever started the first one sees a single trainer: one leash, one stream of reports, one
exit code.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from openhearth.training.reports import Tell, read_report

_GRACE_SECONDS = 60.0
"""How long the others may go on once one has ended."""


def train_together(spec_file: Path, num_processes: int, tell: Tell, stop: threading.Event) -> None:
    """Run the trainers to their end, and end as the first one did that failed."""
    team = Team(spec_file, num_processes, tell)
    threading.Thread(target=team.pass_on, args=(stop,), daemon=True).start()
    code = team.wait()
    if code < 0:
        os.kill(os.getpid(), -code)
    if code > 0:
        sys.exit(code)


class Team:
    """The trainers of one run; their reports go to `tell`."""

    def __init__(self, spec_file: Path, num_processes: int, tell: Tell) -> None:
        roles = _roles(num_processes)
        self._members = [_start(spec_file, role) for role in roles]
        self._tell = tell
        self._code = 0
        self._lock = threading.Lock()

    def pass_on(self, stop: threading.Event) -> None:
        """Ask all of them to stop, once that is asked of this process."""
        stop.wait()
        for member in self._members:
            assert member.stdin is not None
            member.stdin.write(b"stop\n")
            member.stdin.flush()

    def wait(self) -> int:
        """Wait for the end of all; return the exit code of the first one that failed, negative for a signal."""
        threads = [threading.Thread(target=self._follow, args=(member,)) for member in self._members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._code

    def _follow(self, member: "subprocess.Popen[bytes]") -> None:
        assert member.stdout is not None
        for line in member.stdout:
            with self._lock:
                self._tell(read_report(line))
        code = member.wait()
        with self._lock:
            if code and not self._code:
                self._code = code
        for other in self._members:
            self._end(other, grace=0.0 if code else _GRACE_SECONDS)

    def _end(self, member: "subprocess.Popen[bytes]", *, grace: float) -> None:
        try:
            member.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            member.send_signal(signal.SIGKILL)


def _start(spec_file: Path, role: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "openhearth.training", str(spec_file), role["RANK"]]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | role)


def _roles(num_processes: int) -> list[dict[str, str]]:
    """Return the variables that tell each process its place, as `accelerate launch` sets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(num_processes)}
    common["LOCAL_WORLD_SIZE"] = common["WORLD_SIZE"]
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_processes)]
