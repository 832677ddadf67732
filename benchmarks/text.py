"""How fast is the text engine beside its peers? `python -m benchmarks.text [--rounds N]`

Every engine runs the same prompts (random token ids, seeded) with the same weights: 1, 8 and 32 requests at once of
128 prompt tokens and 128 new ones, greedy; one prompt of 1,500 tokens; the time to the first token of a short prompt;
the time to load; the peak memory. openhearth runs twice, the second time without guessing tokens ahead: random prompts
lead to texts that repeat themselves, which are easy to guess. Engines take turns, each in a process of its own, so that
a machine whose speed drifts treats all alike; the figure of an engine is the median over the rounds, and a ratio is the
median of the rounds' ratios.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import default_model_gguf, peer_python
from openhearth.settings import DEFAULT_TEXT_MODEL, load_settings

ENGINES = Path(__file__).parent / "text_engines"
PEERS = {
    "openvino_genai": ("genai_engine.py", ["openvino-genai==2026.4.1.0", "numpy"]),
    "llama_cpp": ("llama_cpp_engine.py", ["xllamacpp==2026.10.11549"]),
}
NUM_TOKENS = 128
OWN = ("openhearth", "openhearth_without_guesses")
TARGETS = {
    "tokens_per_second_1": 1.0,
    "tokens_per_second_8": 1.1,
    "tokens_per_second_32": 1.1,
    "prefill_tokens_per_second": 1.0,
}


def build_workload() -> dict[str, Any]:
    """Return the prompts, as token ids, and how many tokens to add to each."""
    rng = np.random.default_rng(0)

    def prompts(count: int, length: int) -> list[list[int]]:
        ids: list[list[int]] = rng.integers(100, 40_000, (count, length)).tolist()
        return ids

    shapes = {"warm_up": (8, 128), "1": (1, 128), "8": (8, 128), "32": (32, 128), "long": (1, 1500)}
    return {"num_tokens": NUM_TOKENS, "prompts": {name: prompts(*shape) for name, shape in shapes.items()}}


def run_engine(workload: Path, python: Path, program: str, model: Path, *options: str) -> dict[str, float]:
    """Run one engine's program and return its figures."""
    command = [python, ENGINES / program, model, workload, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def summarise(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return medians, and the ratio to the best peer where more is better."""
    engines = {
        engine: {name: statistics.median(row[engine][name] for row in rounds) for name in rounds[0][engine]}
        for engine in rounds[0]
    }
    ratios = {
        own: {
            name: statistics.median(row[own][name] / max(row[peer][name] for peer in PEERS) for row in rounds)
            for name in TARGETS
        }
        for own in OWN
    }
    met = {name: ratios["openhearth"][name] >= target for name, target in TARGETS.items()}
    return {"engines": engines, "ratio_to_best_peer": ratios, "targets_met": met, "rounds": len(rounds)}


def main() -> None:
    """Measure, and print JSON on the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    num_rounds = parser.parse_args().rounds
    gguf = default_model_gguf()
    own = Path(sys.executable), "openhearth_engine.py", load_settings().models / DEFAULT_TEXT_MODEL
    programs: dict[str, Any] = {"openhearth": own, "openhearth_without_guesses": (*own, "0")}
    for name, (program, packages) in PEERS.items():
        programs[name] = (peer_python(name, packages), program, gguf)
    rounds = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as workload:
        json.dump(build_workload(), workload)
        workload.flush()
        for number in range(num_rounds):
            rounds.append({name: run_engine(Path(workload.name), *program) for name, program in programs.items()})
            print(f"round {number + 1}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "text", "machine": platform.processor() or platform.machine(), **summarise(rounds)}))


if __name__ == "__main__":
    main()
