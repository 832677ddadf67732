"""Fine-tuning and `kill -9`: whoever dies, the job goes on, and nothing of the outcome shows that anybody did."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.acceptance.test_serve import base_url, read_banner
from tests.processes import trainers_on
from tests.tiny_model import make_tiny_model

TINY = "tiny-llama"
ROWS = [
    {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"it is {n}"}]}
    for n in range(12)
]
NUM_STEPS = 120
"""Ten epochs of twelve rows."""


@dataclass(frozen=True)
class Home:
    """A home of its own for each test, and the processes on it."""

    root: Path
    has_worker: bool

    @property
    def environment(self) -> dict[str, str]:
        """The settings of all processes."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENHEARTH_")}
        return inherited | {
            "OPENHEARTH_HOME": str(self.root / "home"),
            "OPENHEARTH_MODELS": str(self.root / "models"),
            "OPENHEARTH_TEXT_MODEL": TINY,
            "OPENHEARTH_EMBEDDING_MODEL": "",
            "OPENHEARTH_PORT": "0",
            "OPENHEARTH_WORKER": str(self.has_worker).lower(),
            "OPENHEARTH_WORKER_POLL_INTERVAL_SECONDS": "0.05",
            "OPENHEARTH_TRAINING_NUM_THREADS": "1",
            "OPENHEARTH_TRAINING_NICENESS": "0",
            "OPENHEARTH_TRAINING_SNAPSHOT_SECONDS": "0.2",
            "OPENHEARTH_TRAINING_LORA_R": "4",
            "OPENHEARTH_TRAINING_LORA_DROPOUT": "0.2",
        }

    @contextmanager
    def running(self, *module: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a process for as long as the context lasts, unless somebody kills it first."""
        command = [sys.executable, "-m", *module]
        with (self.root / f"{module[-1]}.log").open("a") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True)
        with process:
            try:
                yield process
            finally:
                process.terminate()
                process.wait(timeout=60)

    @contextmanager
    def serving(self) -> Iterator[tuple["subprocess.Popen[str]", OpenAI]]:
        """Run a server."""
        with self.running("tests.acceptance.serve_fake", "0") as process:
            url = base_url(read_banner(process))
            with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=3) as client:
                yield process, client

    def trainers(self) -> list[int]:
        """Return the process ids of the trainers on this home."""
        return trainers_on(self.root)

    def kill_trainer(self) -> None:
        """Kill the trainer, of which there is one."""
        (pid,) = self.trainers()
        os.kill(pid, signal.SIGKILL)

    def newest_checkpoint(self) -> Path:
        """Return the directory of the newest checkpoint that a worker has recorded; nobody may be at work."""
        with closing(sqlite3.connect(self.root / "home" / "openhearth.db")) as database:
            (directory,) = database.execute(
                "select directory from fine_tuning_checkpoints order by step desc limit 1"
            ).fetchone()
        return self.root / "home" / "fine_tuning" / str(directory)

    def weights(self, job: FineTuningJob) -> bytes:
        """Return the weights of the final checkpoint."""
        (path,) = (self.root / "home" / "fine_tuning" / job.id).rglob(f"checkpoint-{NUM_STEPS}/*.safetensors")
        return path.read_bytes()


def make_home(folder: Path, *, has_worker: bool = True) -> Home:
    """Make a home with the tiny model."""
    (folder / "home").mkdir(parents=True)
    make_tiny_model(folder / "models" / TINY)
    return Home(folder, has_worker)


def create(client: OpenAI) -> FineTuningJob:
    """Create the job that all tests carry out."""
    content = "\n".join(map(json.dumps, ROWS)).encode()
    file = client.files.create(file=("rows.jsonl", io.BytesIO(content)), purpose="fine-tune")
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 10, "batch_size": 1}}}
    return client.fine_tuning.jobs.create(model=TINY, training_file=file.id, seed=3, method=method)  # type: ignore[arg-type]


def wait(is_enough: Callable[[], bool]) -> None:
    """Wait for something that happens in other processes."""
    deadline = time.monotonic() + 120
    while not is_enough():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def num_steps(client: OpenAI, job: FineTuningJob) -> int:
    """Return the last step that has an event."""
    events = client.fine_tuning.jobs.list_events(job.id, limit=5).data
    return max((event.data["step"] for event in events if event.type == "metrics"), default=0)  # type: ignore[index]


def finish(client: OpenAI, job: FineTuningJob) -> tuple[FineTuningJob, str]:
    """Wait for the end of a job; return it with its metrics."""
    wait(lambda: client.fine_tuning.jobs.retrieve(job.id).status not in ("validating_files", "queued", "running"))
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    return job, client.files.content(job.result_files[0]).text


def steps_with_events(client: OpenAI, job: FineTuningJob) -> list[int]:
    """Return the steps of all metrics events, oldest first."""
    events = client.fine_tuning.jobs.list_events(job.id, limit=1000)
    return [event.data["step"] for event in events if event.type == "metrics"][::-1]  # type: ignore[index]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """Return the weights and the metrics of a job that nobody disturbed."""
    home = make_home(tmp_path_factory.mktemp("undisturbed"))
    with home.serving() as (_, client):
        job, metrics = finish(client, create(client))
        return home.weights(job), metrics


def begin(home: Home, client: OpenAI, job: FineTuningJob) -> None:
    """Let a worker carry the job out for a while, and kill it."""
    with home.running("openhearth", "worker") as worker:
        wait(lambda: num_steps(client, job) >= 20)
        worker.kill()
        worker.wait()
    wait(lambda: home.trainers() == [])


def check(home: Home, client: OpenAI, job: FineTuningJob, uninterrupted: tuple[bytes, str]) -> None:
    """See that nothing shows: weights and metrics are the same, and each step has one event at most."""
    job, metrics = finish(client, job)
    assert metrics == uninterrupted[1]
    assert home.weights(job) == uninterrupted[0]
    assert steps_with_events(client, job) == sorted({*range(10, NUM_STEPS + 1, 10)})
    assert home.trainers() == []


def test_trainer(tmp_path: Path, uninterrupted: tuple[bytes, str]) -> None:
    """A trainer that is killed is started again."""
    home = make_home(tmp_path / "home1")
    with home.serving() as (_, client):
        job = create(client)
        wait(lambda: num_steps(client, job) >= 20)
        home.kill_trainer()

        check(home, client, job, uninterrupted)


def test_server(tmp_path: Path, uninterrupted: tuple[bytes, str]) -> None:
    """A server that is killed takes its trainer with it, and the next server goes on at once."""
    home = make_home(tmp_path / "home2")
    with home.serving() as (server, client):
        job = create(client)
        wait(lambda: num_steps(client, job) >= 20)
        server.kill()
        server.wait()
    wait(lambda: home.trainers() == [])

    with home.serving() as (_, client):
        check(home, client, job, uninterrupted)


def test_worker(tmp_path: Path, uninterrupted: tuple[bytes, str]) -> None:
    """A worker of its own that is killed is replaced by another, while the server serves."""
    home = make_home(tmp_path / "home3", has_worker=False)
    with home.serving() as (_, client):
        job = create(client)
        begin(home, client, job)

        with home.running("openhearth", "worker"):
            check(home, client, job, uninterrupted)


def test_everybody(tmp_path: Path, uninterrupted: tuple[bytes, str]) -> None:
    """Trainer, worker and server may be killed at the same moment."""
    home = make_home(tmp_path / "home4", has_worker=False)
    with home.serving() as (server, client), home.running("openhearth", "worker") as worker:
        job = create(client)
        wait(lambda: num_steps(client, job) >= 20)
        home.kill_trainer()
        worker.kill()
        server.kill()
        worker.wait()
        server.wait()

    with home.running("openhearth", "worker"), home.serving() as (_, client):
        check(home, client, job, uninterrupted)


@pytest.mark.parametrize("harm", ["torn", "flipped"])
def test_harmed_checkpoint(tmp_path: Path, uninterrupted: tuple[bytes, str], harm: str) -> None:
    """A checkpoint that is no longer what it was is passed over, and the one before it continued."""
    home = make_home(tmp_path / "home5", has_worker=False)
    with home.serving() as (_, client):
        job = create(client)
        begin(home, client, job)
        weights = home.newest_checkpoint() / "adapter_model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1] if harm == "torn" else whole[:-1] + bytes([whole[-1] ^ 1]))

        with home.running("openhearth", "worker"):
            check(home, client, job, uninterrupted)
        (warning,) = [event for event in client.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]
        step = weights.parent.name.removeprefix("checkpoint-")
        assert warning.message == f"The checkpoint at step {step} is damaged; the one before it is used."
