"""The figures of OpenVINO GenAI's continuous batching: `python genai_engine.py MODEL WORKLOAD`."""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai


def generate(pipe: genai.ContinuousBatchingPipeline, prompts: list[list[int]], num_tokens: int) -> tuple[float, float]:
    """Run all prompts at once; return the seconds until the first output and until the end."""
    config = genai.GenerationConfig()
    config.max_new_tokens = num_tokens
    config.ignore_eos = True
    config.do_sample = False
    started = time.perf_counter()
    handles = [
        pipe.add_request(number, ov.Tensor(np.array([prompt], dtype=np.int64)), config)
        for number, prompt in enumerate(prompts)
    ]
    first = float("inf")
    while pipe.has_non_finished_requests():
        pipe.step()
        if first == float("inf") and any(handle.can_read() for handle in handles):
            first = time.perf_counter() - started
    seconds = time.perf_counter() - started
    for handle in handles:
        handle.read_all()
    return first, seconds


def open_pipeline(model: str) -> genai.ContinuousBatchingPipeline:
    """Load a GGUF file; its graph is saved beside it the first time, since only that form takes a scheduler."""
    folder = Path(model).parent
    if not (folder / "openvino_model.xml").is_file():
        genai.LLMPipeline(model, "CPU", enable_save_ov_model=True)
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.max_num_batched_tokens = 2048
    scheduler.max_num_seqs = 64
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = False
    return genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU")


def main(model: str, workload: dict[str, list[list[int]]], num_tokens: int) -> None:
    """Print the figures."""
    started = time.perf_counter()
    pipe = open_pipeline(model)
    figures = {"load_seconds": time.perf_counter() - started}
    generate(pipe, workload["warm_up"], num_tokens)
    for name in ("1", "8", "32"):
        _, seconds = generate(pipe, workload[name], num_tokens)
        figures[f"tokens_per_second_{name}"] = len(workload[name]) * num_tokens / seconds
    first, _ = generate(pipe, workload["long"], 1)
    figures["prefill_tokens_per_second"] = len(workload["long"][0]) / first
    figures["time_to_first_token_seconds"], _ = generate(pipe, workload["1"], 1)
    figures["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[2]).read_text())
    main(sys.argv[1], content["prompts"], content["num_tokens"])
