"""The figures of openhearth's own engine: `python openhearth_engine.py MODEL WORKLOAD [NUM_SPECULATIVE_TOKENS]`."""

import asyncio
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

from openhearth.engine.base import SamplingParams
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.engine import OpenVINOTextEngine


async def generate(engine: OpenVINOTextEngine, prompts: list[list[int]], num_tokens: int) -> tuple[float, float]:
    """Run all prompts at once; return the seconds until the first output and until the end."""
    params = SamplingParams(max_tokens=num_tokens, temperature=0, ignore_eos=True)
    started = time.perf_counter()
    first = float("inf")

    async def run(prompt: list[int]) -> None:
        nonlocal first
        async for _ in engine.generate(prompt, params):
            first = min(first, time.perf_counter() - started)

    await asyncio.gather(*(run(prompt) for prompt in prompts))
    return first, time.perf_counter() - started


async def main(model: str, workload: dict[str, list[list[int]]], num_tokens: int, config: EngineConfig) -> None:
    """Print the figures."""
    started = time.perf_counter()
    engine = OpenVINOTextEngine(Path(model), config)
    figures: dict[str, float] = {"load_seconds": time.perf_counter() - started}
    await generate(engine, workload["warm_up"], num_tokens)
    for name in ("1", "8", "32"):
        _, seconds = await generate(engine, workload[name], num_tokens)
        figures[f"tokens_per_second_{name}"] = len(workload[name]) * num_tokens / seconds
    first, _ = await generate(engine, workload["long"], 1)
    figures["prefill_tokens_per_second"] = len(workload["long"][0]) / first
    figures["time_to_first_token_seconds"], _ = await generate(engine, workload["1"], 1)
    figures["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    await engine.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[2]).read_text())
    settings = EngineConfig(enable_prefix_caching=False)
    if len(sys.argv) > 3:
        settings = replace(settings, num_speculative_tokens=int(sys.argv[3]))
    asyncio.run(main(sys.argv[1], content["prompts"], content["num_tokens"], settings))
