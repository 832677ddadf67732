"""The figures of llama.cpp's server loop, from the xllamacpp wheel: `python llama_cpp_engine.py MODEL WORKLOAD`."""

import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import xllamacpp


def generate(server: xllamacpp.Server, prompts: list[list[int]], num_tokens: int) -> tuple[float, float]:
    """Run all prompts at once; return the seconds until the first output and until the end."""
    started = time.perf_counter()
    arrivals: list[float] = []

    def run(prompt: list[int]) -> None:
        request = {
            "prompt": prompt,
            "max_tokens": num_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": False,
        }
        server.handle_completions(request, lambda _chunk: arrivals.append(time.perf_counter() - started))

    threads = [threading.Thread(target=run, args=[prompt]) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return min(arrivals), time.perf_counter() - started


def open_server(model: str) -> Any:
    """Load a GGUF file with a slot for each of 32 requests."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel = 32
    params.n_ctx = 32 * 2048
    params.kv_unified = True
    params.cont_batching = True
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    return xllamacpp.Server(params)


def main(model: str, workload: dict[str, list[list[int]]], num_tokens: int) -> None:
    """Print the figures."""
    started = time.perf_counter()
    server = open_server(model)
    figures = {"load_seconds": time.perf_counter() - started}
    generate(server, workload["warm_up"], num_tokens)
    for name in ("1", "8", "32"):
        _, seconds = generate(server, workload[name], num_tokens)
        figures[f"tokens_per_second_{name}"] = len(workload[name]) * num_tokens / seconds
    first, _ = generate(server, workload["long"], 1)
    figures["prefill_tokens_per_second"] = len(workload["long"][0]) / first
    figures["time_to_first_token_seconds"], _ = generate(server, workload["1"], 1)
    figures["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[2]).read_text())
    main(sys.argv[1], content["prompts"], content["num_tokens"])
