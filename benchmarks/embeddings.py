"""How fast is the embedding engine beside its peers? `python -m benchmarks.embeddings [--rounds N]`

All engines compute the same texts (random words, seeded) with the same weights, those of the default model: 1, 32 and
256 inputs of about 32 and 200 tokens for one caller, and 64 callers at once with one input of about 32 tokens each.
All of them stay in memory and take turns, row by row, so that a machine whose speed drifts treats them alike; an
engine's figure is the median over the rounds, and a ratio is the median of the rounds' ratios to the best peer.

openhearth runs as it does by default (bf16) and in f32; the peers run in 32 bits, which is their default, and
sentence-transformers in bf16, too, which is shown and compared with, but is no peer that the targets speak of: it
rounds its vectors to 16 bits.

The last part asks how much of a request of 2,048 inputs goes into writing 2,048 x 384 numbers as JSON.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from tokenizers import Tokenizer

from benchmarks.environment import peer_python
from openhearth.api.embeddings import written
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.registry import load_embedding_engine
from openhearth.services.embeddings import EmbeddingResult
from openhearth.settings import DEFAULT_EMBEDDING_MODEL, load_settings

ENGINES = Path(__file__).parent / "embedding_engines"
ENVIRONMENTS = {
    "torch": [
        "sentence-transformers==6.2.0",
        "onnxruntime==1.32.0",
        "onnx==1.23.2",
        "onnxscript==0.7.2",
        "torch==2.13.0",
    ],
    "infinity": ["infinity-emb[torch,server]==0.0.78", "torch==2.13.0"],
}
PEERS = {
    "sentence_transformers": ("torch", "sentence_transformers_engine.py", "f32"),
    "sentence_transformers_bf16": ("torch", "sentence_transformers_engine.py", "bf16"),
    "infinity": ("infinity", "infinity_engine.py", "f32"),
    "onnxruntime": ("torch", "onnxruntime_engine.py", "f32"),
}
OURS = {"openhearth": "bf16", "openhearth_f32": "f32"}
TARGET_PEERS = ("sentence_transformers", "infinity", "onnxruntime")
ROWS = {
    f"{count}_inputs_of_{length}_tokens": f"one_caller {length} {count}"
    for length in (32, 200)
    for count in (1, 32, 256)
} | {"64_callers": "many_callers 32 256"}
TARGETS = dict.fromkeys(ROWS, 1.3) | {"64_callers": 2.0}
MAX_JSON_SHARE = 0.1


class Engine:
    """One engine in a process of its own. What goes wrong there is written to this program's standard error."""

    def __init__(self, python: Path, program: str, model: Path, workload: Path, dtype: str) -> None:
        command = [python, ENGINES / program, model, workload, dtype]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> "Engine":
        assert self._read() == "ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def texts_per_second(self, row: str) -> float:
        """Return the figure of one row."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{row}\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("="):
                return line[1:].strip()
        raise SystemExit(f"{self._process.args!r} failed.")


def build_workload(model: Path, *, count: int = 256) -> dict[str, list[str]]:
    """Return texts of about 32 and 200 tokens; a quarter more or less, as lengths vary in life."""
    vocabulary = Tokenizer.from_file(str(model / "tokenizer.json")).get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 2)
    rng = random.Random(0)

    def text(length: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(length * 3 // 4, length * 5 // 4) - 2))

    return {str(length): [text(length) for _ in range(count)] for length in (32, 200)}


def summarise(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return medians, and the ratios to the best peer, row by row."""
    figures = {
        engine: {row: round(statistics.median(each[row][engine] for each in rounds), 1) for row in ROWS}
        for engine in rounds[0]["64_callers"]
    }

    def ratio(ours: str, row: str) -> float:
        ratios = (each[row][ours] / max(each[row][peer] for peer in TARGET_PEERS) for each in rounds)
        return round(statistics.median(ratios), 2)

    ratios = {ours: {row: ratio(ours, row) for row in ROWS} for ours in OURS}
    met = {row: ratios["openhearth"][row] >= target for row, target in TARGETS.items()}
    return {"texts_per_second": figures, "ratio_to_best_peer": ratios, "targets_met": met, "rounds": len(rounds)}


async def json_share(model: Path, texts: list[str]) -> float:
    """Return the part of a request of 2,048 short inputs that goes into writing its vectors as numbers."""
    engine = load_embedding_engine(model, EmbeddingConfig())
    started = time.perf_counter()
    vectors = await engine.embed(await engine.encode(texts))
    computed = time.perf_counter()
    await written(EmbeddingResult(model="model", vectors=vectors, num_tokens=0), "float")
    ended = time.perf_counter()
    await engine.close()
    return (ended - computed) / (ended - started)


def main() -> None:
    """Measure, and print JSON on the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    num_rounds = parser.parse_args().rounds
    model = load_settings().models / DEFAULT_EMBEDDING_MODEL
    texts = build_workload(model)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as workload:
        json.dump(texts, workload)
        workload.flush()
        rounds = measure(model, Path(workload.name), num_rounds)
    share = asyncio.run(json_share(model, texts["32"] * 8))
    machine = platform.processor() or platform.machine()
    result = {"benchmark": "embeddings", "machine": machine, **summarise(rounds), "json_share": round(share, 4)}
    result["targets_met"]["json_share"] = share < MAX_JSON_SHARE
    print(json.dumps(result))


def measure(model: Path, workload: Path, num_rounds: int) -> list[dict[str, dict[str, float]]]:
    """Return, for each round and row, the texts per second of every engine."""
    programs = {name: (Path(sys.executable), "openhearth_engine.py", dtype) for name, dtype in OURS.items()}
    for name, (environment, program, dtype) in PEERS.items():
        python = peer_python(f"embeddings-{environment}", ENVIRONMENTS[environment])
        programs[name] = (python, program, dtype)
    engines = {
        name: Engine(python, program, model, workload, dtype) for name, (python, program, dtype) in programs.items()
    }
    rounds: list[dict[str, dict[str, float]]] = []
    with ExitStack() as stack:
        for engine in engines.values():
            stack.enter_context(engine)
        for number in range(num_rounds):
            rounds.append({row: {} for row in ROWS})
            for row, task in ROWS.items():
                for name, engine in engines.items():
                    rounds[-1][row][name] = engine.texts_per_second(task)
                print(f"round {number + 1}, {row}: {json.dumps(rounds[-1][row])}", file=sys.stderr, flush=True)
    return rounds


if __name__ == "__main__":
    main()
