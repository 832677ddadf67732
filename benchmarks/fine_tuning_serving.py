"""What is it like beside a job, and after it? `python -m benchmarks.fine_tuning_serving [--rounds N]`

On one server with the default model: latencies of `/v1/models` and of completions of eight tokens, idle and while a job
trains; the time from the job's last step to the first answer of the tuned model; tokens per second of the tuned model
beside its base, over HTTP and in turns, at 1, 8 and 32 requests at once (answers are drawn at random, so that nothing
can be guessed ahead); ratios are medians of the rounds' ratios.
"""

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from openai import AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob

from benchmarks.tuning_home import Home, create, finish, num_steps, wait_until
from openhearth.settings import DEFAULT_TEXT_MODEL

NEVER_END = {"0": -100, "2": -100}
NUM_TOKENS = 96
NUM_ROWS, BATCH_SIZE = 64, 4
TARGETS = {"first_answer_seconds": 3.0, "decode_ratio": 0.85}


def complete(client: OpenAI, model: str, *, max_tokens: int) -> None:
    """Ask for a completion."""
    client.completions.create(model=model, prompt="Once upon a time", max_tokens=max_tokens, temperature=0)


def latencies(ask: Callable[[], object], count: int) -> dict[str, float]:
    """Ask so many times, one after the other; return milliseconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.01)
    return {"p50_ms": float(np.percentile(times, 50)), "p99_ms": float(np.percentile(times, 99))}


def both_latencies(client: OpenAI) -> dict[str, dict[str, float]]:
    """Return the latencies of a request that computes nothing, and of one that does."""
    return {
        "models": latencies(client.models.list, 200),
        "completions": latencies(lambda: complete(client, DEFAULT_TEXT_MODEL, max_tokens=8), 60),
    }


def first_answer(client: OpenAI, job: FineTuningJob) -> tuple[float, str]:
    """Return the seconds from the event of the last step to the answer of the tuned model, and the model's name."""
    last = NUM_ROWS // BATCH_SIZE
    wait_until(lambda: num_steps(client, job) >= last, every=0.02)
    began = time.perf_counter()
    wait_until(lambda: client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model is not None, every=0.02)
    model = finish(client, job).fine_tuned_model
    assert model is not None
    complete(client, model, max_tokens=1)
    return time.perf_counter() - began, model


async def speed(client: AsyncOpenAI, model: str, num_requests: int, seed: int) -> float:
    """Return tokens per second over all requests."""
    rng = np.random.default_rng(seed)

    async def ask(prompt: list[int]) -> None:
        await client.completions.create(
            model=model, prompt=prompt, max_tokens=NUM_TOKENS, temperature=1, seed=seed, logit_bias=NEVER_END
        )

    began = time.perf_counter()
    await asyncio.gather(*(ask(prompt) for prompt in rng.integers(100, 40_000, (num_requests, 8)).tolist()))
    return num_requests * NUM_TOKENS / (time.perf_counter() - began)


async def compare_decoding(base_url: str, tuned: str, rounds: int) -> dict[str, Any]:
    """Let base and tuned model answer in turns."""
    found: dict[str, Any] = {}
    async with AsyncOpenAI(base_url=base_url, api_key="any") as client:
        for num_requests in (1, 8, 32):
            rows = []
            for seed in range(rounds + 1):  # the first round warms up
                base = await speed(client, DEFAULT_TEXT_MODEL, num_requests, seed)
                rows.append((base, await speed(client, tuned, num_requests, seed)))
            found[str(num_requests)] = {
                "base_tokens_per_second": statistics.median(base for base, _ in rows[1:]),
                "tuned_tokens_per_second": statistics.median(adapted for _, adapted in rows[1:]),
                "ratio": statistics.median(adapted / base for base, adapted in rows[1:]),
            }
    return found


def measure(client: OpenAI, rounds: int) -> dict[str, Any]:
    """Measure everything on a server that runs."""
    complete(client, DEFAULT_TEXT_MODEL, max_tokens=8)
    idle = both_latencies(client)
    job = create(client, num_rows=NUM_ROWS, batch_size=BATCH_SIZE, n_epochs=1)
    wait_until(lambda: num_steps(client, job) >= 1)
    training = both_latencies(client)
    is_training = client.fine_tuning.jobs.retrieve(job.id).status == "running"
    seconds, tuned = first_answer(client, job)
    decoding = asyncio.run(compare_decoding(str(client.base_url), tuned, rounds))
    met = {
        "first_answer_seconds": seconds < TARGETS["first_answer_seconds"],
        "decode_ratio": min(row["ratio"] for row in decoding.values()) >= TARGETS["decode_ratio"],
    }
    return {
        "latency_idle": idle,
        "latency_while_training": training,
        "trained_all_the_while": is_training,
        "first_answer_seconds": seconds,
        "decoding": decoding,
        "targets_met": met,
    }


def main() -> None:
    """Measure, and print JSON on the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, Home(Path(folder)).serving() as (_, client):
        figures = measure(client, rounds)
    machine = platform.processor() or platform.machine()
    print(json.dumps({"benchmark": "fine_tuning_serving", "machine": machine, **figures}))


if __name__ == "__main__":
    main()
