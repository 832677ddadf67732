"""A home for benchmarks of fine-tuning: server, worker and trainer as an operator runs them, on the default model."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from benchmarks.fine_tuning import make_rows
from openhearth.settings import DEFAULT_TEXT_MODEL
from tests.processes import trainers_on


@dataclass(frozen=True)
class Home:
    """A folder, and the processes on it."""

    root: Path
    has_worker: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The settings of all processes."""
        return os.environ | {
            "OPENHEARTH_HOME": str(self.root),
            "OPENHEARTH_EMBEDDING_MODEL": "",
            "OPENHEARTH_PORT": "0",
            "OPENHEARTH_LOG_LEVEL": "warning",
            "OPENHEARTH_WORKER": str(self.has_worker).lower(),
            "OPENHEARTH_WORKER_POLL_INTERVAL_SECONDS": "0.2",
            "OPENHEARTH_TRAINING_SNAPSHOT_SECONDS": "5",
        }

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Run `openhearth` for as long as the context lasts, unless somebody kills it first."""
        command = [sys.executable, "-m", "openhearth", *arguments]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.terminate()
                process.wait(timeout=60)

    @contextmanager
    def serving(self) -> Iterator[tuple["subprocess.Popen[str]", OpenAI]]:
        """Run a server, and give the official client."""
        with self.running("serve") as process:
            assert process.stdout is not None
            found = re.search(r"listening on (\S+)", process.stdout.readline())
            if found is None:
                raise SystemExit("The server did not start.")
            with OpenAI(base_url=f"{found[1]}/v1", api_key="any", max_retries=3) as client:
                yield process, client

    def trainers(self) -> list[int]:
        """Return the process ids of the trainers on this home."""
        return trainers_on(self.root)

    def kill_trainers(self) -> None:
        """Kill every trainer."""
        for pid in self.trainers():
            os.kill(pid, signal.SIGKILL)

    def weights(self, job: FineTuningJob, step: int) -> bytes:
        """Return the weights of a job's checkpoint."""
        (path,) = (self.root / "fine_tuning" / job.id).rglob(f"checkpoint-{step}/*.safetensors")
        return path.read_bytes()


def create(client: OpenAI, *, num_rows: int, **hyperparameters: Any) -> FineTuningJob:
    """Create a supervised job with a fixed seed."""
    content = "\n".join(map(json.dumps, make_rows(num_rows))).encode()
    file = client.files.create(file=("rows.jsonl", io.BytesIO(content)), purpose="fine-tune")
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    return client.fine_tuning.jobs.create(model=DEFAULT_TEXT_MODEL, training_file=file.id, seed=3, method=method)


def wait_until(is_enough: Callable[[], bool], *, seconds: float = 600, every: float = 0.1) -> None:
    """Wait for something that happens in other processes."""
    deadline = time.monotonic() + seconds
    while not is_enough():
        if time.monotonic() > deadline:
            raise SystemExit("Nothing happened for too long.")
        time.sleep(every)


def num_steps(client: OpenAI, job: FineTuningJob) -> int:
    """Return the last step that has an event."""
    events = client.fine_tuning.jobs.list_events(job.id, limit=5).data
    return max((int(event.data["step"]) for event in events if event.type == "metrics"), default=0)  # type: ignore[index]


def finish(client: OpenAI, job: FineTuningJob) -> FineTuningJob:
    """Wait for the end of a job."""
    wait_until(lambda: client.fine_tuning.jobs.retrieve(job.id).status not in ("validating_files", "queued", "running"))
    job = client.fine_tuning.jobs.retrieve(job.id)
    if job.status != "succeeded":
        raise SystemExit(f"The job ended as {job.status}: {job.error}")
    return job
