"""A network that is trained step by step, with a learning rate that falls to nothing over a number of steps."""

from collections.abc import Callable
from typing import Any

import torch

from image_model.runs import Run, State

_WARM_UP_STEPS = 100
_LOG_STEPS = 50


class Trainee:
    """A network and its optimiser, which go on where their run was stopped. `step` counts those that are done."""

    def __init__(self, run: Run, network: Any, *, learning_rate: float = 1e-3, weight_decay: float) -> None:
        self._run = run
        self._network = network
        self._learning_rate = learning_rate
        self._optimizer = torch.optim.AdamW(
            network.parameters(), learning_rate, betas=(0.9, 0.98), weight_decay=weight_decay
        )
        self.step = self._resume(run.resume())

    def train(self, total: int, loss_of: Callable[[], Any]) -> None:
        """Lower the loss until the run is over or `total` steps are done, and log its moving mean."""
        mean: float | None = None
        for step in self._run.steps(self.step, self._state, last=total):
            self._set_learning_rate(step, total)
            loss = loss_of()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            mean = loss.item() if mean is None else mean * 0.98 + loss.item() * 0.02
            if (step + 1) % _LOG_STEPS == 0:
                self._run.log(step=step + 1, loss=mean)

    def _set_learning_rate(self, step: int, total: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * min(1, (step + 1) / _WARM_UP_STEPS) * (1 - step / total)

    def _state(self, step: int) -> State:
        return {"model": self._network.state_dict(), "optimizer": self._optimizer.state_dict(), "step": step}

    def _resume(self, state: State | None) -> int:
        if state is None:
            return 0
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
