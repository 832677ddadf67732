"""How fast does the trainer train? `python -m benchmarks.fine_tuning [--rounds N]`

The trainer, as a worker starts it, and a plain TRL script (`fine_tuning_programs/plain_trl.py`) train the same LoRA on
the default model: the same rows, batches, precision and number of threads, loss on the answers only. They take turns,
each in a process of its own. Speed is tokens of the rows, without padding, from the first step to the end of the
last; memory is the peak of the process. The figure of a program is the median over the rounds, and a ratio the median
of the rounds' ratios. That they train the same is seen in their losses.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openhearth.settings import DEFAULT_TEXT_MODEL, load_settings
from openhearth.training.reports import Started, StepDone, read_report
from openhearth.training.spec import LoraSpec, TrainingSpec

PLAIN = Path(__file__).parent / "fine_tuning_programs" / "plain_trl.py"
TARGETS = {"tokens_per_second": 1.0}
TEXT = (
    "the river carries small boats past quiet gardens while children count birds on a wooden bridge and nobody hurries "
    "because every evening brings warm bread new stories and a light in each window of the old town by the sea"
)


def make_rows(num_rows: int) -> list[dict[str, Any]]:
    """Return conversations of one turn, most of them short and some long, as such files are."""
    rng, words = random.Random(0), TEXT.split()

    def text(mean: float) -> str:
        return " ".join(rng.choices(words, k=3 + round(rng.expovariate(1 / mean))))

    return [
        {
            "messages": [
                {"role": "system", "content": "You answer in one breath."},
                {"role": "user", "content": text(50)},
                {"role": "assistant", "content": text(25)},
            ]
        }
        for _ in range(num_rows)
    ]


def write_workload(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write the rows in the forms that both programs take; return what both are told."""
    rows = make_rows(options.rows)
    pairs = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    for name, lines in (("chat.jsonl", rows), ("prompt_completion.jsonl", pairs)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {
        "model": str(load_settings().models / DEFAULT_TEXT_MODEL),
        "chat_file": str(folder / "chat.jsonl"),
        "prompt_completion_file": str(folder / "prompt_completion.jsonl"),
        "n_epochs": 1,
        "batch_size": options.batch_size,
        "learning_rate": 2e-4,
        "seed": 1,
        "r": 16,
        "lora_alpha": 32,
        "num_threads": options.threads,
        "dtype": "f32",
    }


def train_openhearth(workload: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run the trainer as a worker does; return its figures."""
    spec = TrainingSpec(
        method="supervised",
        base_model=Path(workload["model"]),
        training_file=Path(workload["chat_file"]),
        output_dir=folder,
        n_epochs=workload["n_epochs"],
        batch_size=workload["batch_size"],
        learning_rate=workload["learning_rate"],
        seed=workload["seed"],
        lora=LoraSpec(r=workload["r"], lora_alpha=workload["lora_alpha"]),
        device="cpu",
        num_threads=workload["num_threads"],
    )
    (folder / "spec.json").write_text(spec.model_dump_json())
    losses: list[float] = []
    began = ended = num_tokens = 0.0

    def read(line: bytes) -> None:
        nonlocal began, ended, num_tokens
        match read_report(line):
            case Started(trained_tokens=trained_tokens):
                began, num_tokens = time.perf_counter(), trained_tokens
            case StepDone(metrics=metrics):
                ended = time.perf_counter()
                losses.append(metrics.train_loss)

    peak = run(["-m", "openhearth.training", str(folder / "spec.json")], workload["num_threads"], read)
    last_epoch = losses[-len(losses) // workload["n_epochs"] :]
    return figures(ended - began, num_tokens, statistics.fmean(last_epoch), peak)


def train_plain(workload: dict[str, Any], folder: Path) -> dict[str, float]:
    """Run the plain script; return its figures."""
    file = folder / "workload.json"
    file.write_text(json.dumps(workload | {"output_dir": str(folder)}))
    lines: list[bytes] = []
    peak = run([str(PLAIN), str(file)], workload["num_threads"], lines.append)
    last = json.loads(lines[-1])
    return figures(last["seconds"], last["num_tokens"], last["loss"], peak)


def run(arguments: list[str], num_threads: int, read: Callable[[bytes], None]) -> float:
    """Run a Python program, read its lines as they come, and return its peak memory in MiB."""
    environment = os.environ | {"OMP_NUM_THREADS": str(num_threads), "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
        )
        assert process.stdout is not None
        for line in process.stdout:
            read(line)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{arguments} failed:\n{errors.read().decode()[-2000:]}")
    return usage.ru_maxrss / 1024


def figures(seconds: float, num_tokens: float, loss: float, peak: float) -> dict[str, float]:
    """Return the figures of one program in one round."""
    return {"tokens_per_second": num_tokens / seconds, "num_tokens": num_tokens, "loss": loss, "peak_memory_mib": peak}


def compare_training(options: argparse.Namespace) -> dict[str, Any]:
    """Let the programs train in turns; return medians and ratios."""
    programs = {"openhearth": train_openhearth, "plain_trl": train_plain}
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(options.rounds):
        rounds.append({})
        for name, program in programs.items():
            with tempfile.TemporaryDirectory() as folder:
                rounds[-1][name] = program(write_workload(Path(folder), options), Path(folder))
        print(f"round {number + 1}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)
    medians = {
        program: {name: statistics.median(row[program][name] for row in rounds) for name in rounds[0][program]}
        for program in programs
    }
    ratios = {
        name: statistics.median(row["openhearth"][name] / row["plain_trl"][name] for row in rounds)
        for name in ("tokens_per_second", "peak_memory_mib")
    }
    met = {name: ratios[name] >= target for name, target in TARGETS.items()}
    return {"programs": medians, "ratio_to_plain": ratios, "targets_met": met, "rounds": options.rounds}


def main() -> None:
    """Measure, and print JSON on the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    options = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(json.dumps({"benchmark": "fine_tuning", "machine": machine, "training": compare_training(options)}))


if __name__ == "__main__":
    main()
