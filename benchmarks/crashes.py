"""Does a job survive `kill -9` on the default model? `python -m benchmarks.crashes`

One job is left alone. The same job is then run three times more, and each time somebody is killed in the middle of
it: the trainer; a worker of its own, with the trainer it started; the server that has the worker inside. Weights and
metrics have to be the same, bit by bit, and each step has to have one event. Not a measurement of speed.
"""

import json
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from benchmarks.tuning_home import Home, create, finish, num_steps, wait_until

NUM_ROWS, BATCH_SIZE, N_EPOCHS = 12, 2, 2
NUM_STEPS = N_EPOCHS * NUM_ROWS // BATCH_SIZE
KILL_AFTER = NUM_STEPS // 2 - 1

Outcome = tuple[bytes, str, list[int]]


def start(client: OpenAI) -> FineTuningJob:
    """Create the job."""
    return create(client, num_rows=NUM_ROWS, batch_size=BATCH_SIZE, n_epochs=N_EPOCHS)


def outcome(home: Home, client: OpenAI, job: FineTuningJob) -> Outcome:
    """Return the weights, the metrics and the steps that had an event."""
    job = finish(client, job)
    events = client.fine_tuning.jobs.list_events(job.id, limit=1000)
    steps = [int(event.data["step"]) for event in events if event.type == "metrics"]  # type: ignore[index]
    return home.weights(job, NUM_STEPS), client.files.content(job.result_files[0]).text, steps


def nobody(folder: Path) -> Outcome:
    """Run the job to its end."""
    home = Home(folder)
    with home.serving() as (_, client):
        return outcome(home, client, start(client))


def trainer(folder: Path) -> Outcome:
    """Kill the trainer."""
    home = Home(folder)
    with home.serving() as (_, client):
        job = start(client)
        wait_until(lambda: num_steps(client, job) >= KILL_AFTER)
        home.kill_trainers()
        return outcome(home, client, job)


def worker(folder: Path) -> Outcome:
    """Kill a worker beside the server, and start another."""
    home = Home(folder, has_worker=False)
    with home.serving() as (_, client):
        job = start(client)
        with home.running("worker") as process:
            wait_until(lambda: num_steps(client, job) >= KILL_AFTER)
            process.kill()
        wait_until(lambda: not home.trainers())
        with home.running("worker"):
            return outcome(home, client, job)


def server(folder: Path) -> Outcome:
    """Kill the server, and start another."""
    home = Home(folder)
    with home.serving() as (process, client):
        job = start(client)
        wait_until(lambda: num_steps(client, job) >= KILL_AFTER)
        process.kill()
    wait_until(lambda: not home.trainers())
    with home.serving() as (_, client):
        return outcome(home, client, job)


def run(case: Callable[[Path], Outcome]) -> Outcome:
    """Run one case on a home of its own."""
    print(f"killing {case.__name__}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return case(Path(folder))


def compare(expected: Outcome, found: Outcome) -> dict[str, Any]:
    """Say what is the same."""
    return {
        "weights_identical": found[0] == expected[0],
        "metrics_identical": found[1] == expected[1],
        "each_step_once": sorted(found[2]) == list(range(1, NUM_STEPS + 1)),
    }


def main() -> None:
    """Run all cases, and print JSON on the last line."""
    expected = run(nobody)
    cases = {case.__name__: compare(expected, run(case)) for case in (trainer, worker, server)}
    machine = platform.processor() or platform.machine()
    print(json.dumps({"benchmark": "crashes", "machine": machine, "steps": NUM_STEPS, "killed": cases}))


if __name__ == "__main__":
    main()
