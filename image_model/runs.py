"""What every training has in common: it lasts as long as it may, logs, and goes on where it was stopped."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]


class Run:
    """One sitting of a training in `folder`, which ends after `minutes`."""

    def __init__(self, folder: Path, minutes: float, *, save_minutes: float = 10.0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._began = self._saved = time.monotonic()
        self._seconds = minutes * 60
        self._save_seconds = save_minutes * 60

    def resume(self) -> State | None:
        """Return the state that was saved last."""
        file = self.folder / "state.pt"
        state: State | None = torch.load(file, weights_only=True) if file.exists() else None
        return state

    def steps(self, first: int, save: Callable[[int], State], *, last: int | None = None) -> Iterator[int]:
        """Count on from `first` until the time is over, saving now and then and at the end."""
        step = first
        while not self._is_over() and (last is None or step < last):
            yield step
            step += 1
            if time.monotonic() - self._saved > self._save_seconds:
                self._save(save(step))
        self._save(save(step))

    def log(self, **values: float) -> None:
        """Add a line to the log, and show it."""
        line = json.dumps({"minutes": round((time.monotonic() - self._began) / 60, 2), **values})
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")

    def seconds(self) -> float:
        """Return how long the sitting has lasted."""
        return time.monotonic() - self._began

    def part_done(self) -> float:
        """Return how much of the sitting is over, from 0 to 1."""
        return self.seconds() / self._seconds

    def _is_over(self) -> bool:
        return self.seconds() > self._seconds

    def _save(self, state: State) -> None:
        part = self.folder / "state.part"
        torch.save(state, part)
        os.replace(part, self.folder / "state.pt")
        self._saved = time.monotonic()


def last_value(folder: Path, name: str, default: float) -> float:
    """Return what a training in `folder` logged last under a name."""
    file = folder / "log.jsonl"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    values = [entry[name] for entry in map(json.loads, lines) if name in entry]
    return float(values[-1]) if values else default
