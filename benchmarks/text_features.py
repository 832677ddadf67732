"""What do the engine's features save or cost? `python -m benchmarks.text_features`

Each row is one feature against the same work without it, in the same process and in turns: a prefix that 32 requests
share, eight candidates of one prompt, short prompts beside long ones, a JSON schema to follow, and the whole way over
HTTP. Prompts are random token ids, seeded; the figure is the median over the rounds.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import llguidance
import numpy as np

from openhearth.engine.base import SamplingParams
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.engine import OpenVINOTextEngine
from openhearth.settings import DEFAULT_TEXT_MODEL, load_settings

SCHEMA = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "string"}, "minItems": 40}},
    "required": ["items"],
    "additionalProperties": False,
}
NEVER_END = {0: -100.0, 2: -100.0}
GREEDY = SamplingParams(temperature=0, max_tokens=64, ignore_eos=True)
Prompt = list[int]


class Load:
    """Prompts that nobody has seen before, from one seed."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def prompt(self, length: int) -> Prompt:
        """Return `length` random token ids."""
        ids: Prompt = self._rng.integers(100, 40_000, length).tolist()
        return ids

    def prompts(self, count: int, length: int, *, prefix: Sequence[int] = ()) -> list[Prompt]:
        """Return prompts that share a prefix."""
        return [[*prefix, *self.prompt(length)] for _ in range(count)]


async def run(engine: OpenVINOTextEngine, prompts: list[Prompt], params: SamplingParams) -> tuple[float, int]:
    """Run all prompts at once; return the seconds it took and how many tokens came out."""
    started = time.perf_counter()

    async def one(prompt: Prompt) -> int:
        return [output async for output in engine.generate(prompt, params)][-1].num_output_tokens

    counts = await asyncio.gather(*(one(prompt) for prompt in prompts))
    return time.perf_counter() - started, sum(counts)


async def shared_prefix(engine: OpenVINOTextEngine, load: Load) -> dict[str, float]:
    """32 requests with 1,024 tokens in common, after one that had them first, and 32 with nothing in common."""
    prefix = load.prompt(1024)
    await run(engine, load.prompts(1, 8, prefix=prefix), GREEDY)
    shared, _ = await run(engine, load.prompts(32, 32, prefix=prefix), GREEDY)
    apart, _ = await run(engine, load.prompts(32, 1056), GREEDY)
    return {"shared_seconds": shared, "apart_seconds": apart, "speed_up": apart / shared}


async def candidates(engine: OpenVINOTextEngine, load: Load) -> dict[str, float]:
    """Eight candidates of one prompt of 512 tokens, and eight prompts of that length."""
    sampled = SamplingParams(n=8, max_tokens=64, seed=1, ignore_eos=True)
    together, _ = await run(engine, load.prompts(1, 512), sampled)
    apart, _ = await run(engine, load.prompts(8, 512), SamplingParams(max_tokens=64, seed=1, ignore_eos=True))
    return {"n_8_seconds": together, "apart_seconds": apart, "speed_up": apart / together}


async def mixed_lengths(engine: OpenVINOTextEngine, load: Load) -> dict[str, float]:
    """16 short prompts alone, and beside four of 1,500 tokens that came just before."""
    alone, _ = await run(engine, load.prompts(16, 32), GREEDY)
    long = asyncio.create_task(run(engine, load.prompts(4, 1500), GREEDY))
    await asyncio.sleep(0)
    beside, _ = await run(engine, load.prompts(16, 32), GREEDY)
    await long
    return {"alone_seconds": alone, "beside_long_prompts_seconds": beside, "slow_down": beside / alone}


async def json_schema(engine: OpenVINOTextEngine, load: Load) -> dict[str, float]:
    """Eight answers that follow a schema, and eight that are free."""
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(SCHEMA))
    prompts = load.prompts(8, 64)
    bound, num_bound = await run(engine, prompts, SamplingParams(temperature=0, max_tokens=64, grammar=grammar))
    free, num_free = await run(engine, prompts, GREEDY)
    per_token = bound / num_bound, free / num_free
    return {
        "bound_ms_per_token": per_token[0] * 1e3,
        "free_ms_per_token": per_token[1] * 1e3,
        "cost": per_token[0] / per_token[1] - 1,
    }


async def over_http(engine: OpenVINOTextEngine, load: Load, base_url: str) -> dict[str, float]:
    """32 requests of 128 + 128 tokens by HTTP, and the same to the engine alone."""
    params = SamplingParams(temperature=0, max_tokens=128, logit_bias=NEVER_END)
    body = {"model": DEFAULT_TEXT_MODEL, "max_tokens": 128, "temperature": 0, "logit_bias": {"0": -100, "2": -100}}
    limits = httpx2.Limits(max_connections=32)
    prompts = load.prompts(32, 128)
    async with httpx2.AsyncClient(base_url=base_url, timeout=600, limits=limits) as client:
        started = time.perf_counter()
        answers = await asyncio.gather(
            *(client.post("/completions", json=body | {"prompt": prompt}) for prompt in prompts)
        )
        http = time.perf_counter() - started
    for answer in answers:
        answer.raise_for_status()
    num_http = sum(answer.json()["usage"]["completion_tokens"] for answer in answers)
    alone, num_alone = await run(engine, prompts, params)
    rates = num_http / http, num_alone / alone
    return {"http_tokens_per_second": rates[0], "engine_tokens_per_second": rates[1], "cost": 1 - rates[0] / rates[1]}


def start_server(home: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server on a free port; return it and its base URL."""
    command = [sys.executable, "-m", "openhearth", "serve", "--port", "0", "--home", home]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OPENHEARTH_LOG_LEVEL": "warning"}
    )
    assert server.stdout is not None
    found = re.search(r"listening on (\S+)", server.stdout.readline())
    if found is None:
        raise SystemExit("The server did not start.")
    return server, f"{found[1]}/v1"


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]}


async def measure(num_rounds: int, base_url: str) -> dict[str, Any]:
    """Run every row `num_rounds` times after one that does not count."""
    engine = OpenVINOTextEngine(load_settings().models / DEFAULT_TEXT_MODEL, EngineConfig())
    load = Load()
    rows: dict[str, Callable[[], Awaitable[dict[str, float]]]] = {
        "shared_prefix": lambda: shared_prefix(engine, load),
        "candidates": lambda: candidates(engine, load),
        "mixed_lengths": lambda: mixed_lengths(engine, load),
        "json_schema": lambda: json_schema(engine, load),
        "over_http": lambda: over_http(engine, load, base_url),
    }
    figures = {}
    for name, row in rows.items():
        await row()
        figures[name] = medians([await row() for _ in range(num_rounds)])
        print(f"{name}: {figures[name]}", file=sys.stderr, flush=True)
    await engine.close()
    return figures


def main() -> None:
    """Measure, and print JSON on the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    num_rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        server, base_url = start_server(str(Path(home)))
        try:
            figures = asyncio.run(measure(num_rounds, base_url))
        finally:
            server.terminate()
            server.wait()
    print(json.dumps({"benchmark": "text_features", "rounds": num_rounds, **figures}))


if __name__ == "__main__":
    main()
