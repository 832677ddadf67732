"""A training goes on where it was stopped."""

import json
from pathlib import Path
from typing import Any

import torch

from image_model.runs import Run, last_value


def test_a_run_resumes(tmp_path: Path) -> None:
    """The next sitting finds the state that the last one ended with."""

    def save(step: int) -> dict[str, Any]:
        return {"step": step, "weights": torch.full((2,), float(step))}

    first = Run(tmp_path / "run", minutes=60)
    assert first.resume() is None
    assert list(first.steps(0, save, last=3)) == [0, 1, 2]

    state = Run(tmp_path / "run", minutes=60).resume()
    assert state is not None
    assert state["step"] == 3
    assert state["weights"].tolist() == [3.0, 3.0]


def test_a_run_saves_on_the_way(tmp_path: Path) -> None:
    """Whoever dies after a while has lost little."""
    run = Run(tmp_path, minutes=60, save_minutes=0)
    steps = run.steps(0, lambda step: {"step": step}, last=5)
    next(steps)
    next(steps)

    state = run.resume()
    assert state is not None
    assert state["step"] == 1


def test_a_run_ends_in_time_and_tells(tmp_path: Path) -> None:
    """A sitting without time makes no step, but saves; every line of its log is JSON."""
    run = Run(tmp_path, minutes=0)

    assert list(run.steps(4, lambda step: {"step": step})) == []
    run.log(loss=1.5)

    assert json.loads((tmp_path / "log.jsonl").read_text())["loss"] == 1.5
    assert (run.resume() or {})["step"] == 4


def test_the_last_value_of_a_log(tmp_path: Path) -> None:
    """What was logged last under a name, or what there is without a log."""
    run = Run(tmp_path, minutes=1)
    assert last_value(tmp_path, "db", -1.0) == -1.0
    run.log(db=30.0)
    run.log(db=31.5)
    run.log(loss=1.0)

    assert last_value(tmp_path, "db", -1.0) == 31.5
    assert last_value(tmp_path, "top5", 0.0) == 0.0
