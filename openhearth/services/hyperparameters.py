"""Hyperparameters: what was asked for, and what `auto` comes to once the number of examples is known.

The rule: as many epochs as it takes to show a hundred examples, but three at least and 25 at most, and fewer than
three for files so large that 25,000 examples are shown sooner; a batch of one for every five hundred examples, up to
256; the base learning rate as it is; beta 0.1.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from openhearth.errors import InvalidValueError, UnsupportedParameterError
from openhearth.schemas.fine_tuning import (
    CreateFineTuningJobRequest,
    DPOMethod,
    FineTuneMethod,
    MethodType,
    SupervisedMethod,
)

_TARGET_EPOCHS = 3
_MAX_EPOCHS = 25
_MIN_EXAMPLES_SHOWN = 100
_MAX_EXAMPLES_SHOWN = 25_000
_EXAMPLES_FOR_EACH_IN_BATCH = 500
_MAX_BATCH_SIZE = 256
_BETA = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """Numbers to train by."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    beta: float


def requested_method(request: CreateFineTuningJobRequest) -> dict[str, Any]:
    """Return the method as the job object shows it, with every hyperparameter, `auto` where it is still open.

    The member that is named like the type is used, the others are not; see `unused_members`. Raises
    `UnsupportedParameterError` for reinforcement, `InvalidValueError` for hyperparameters given twice.
    """
    method = request.method or FineTuneMethod(type="supervised")
    if method.type == "reinforcement":
        raise UnsupportedParameterError(
            "Reinforcement fine-tuning is not supported by this server; method.type may be supervised or dpo.",
            param="method.type",
        )
    return {"type": method.type, method.type: {"hyperparameters": _requested(request, method)}}


def unused_members(method: FineTuneMethod | None) -> list[str]:
    """Return the members of the method that were given for another type than the one that was chosen."""
    if method is None:
        return []
    return [name for name in get_args(MethodType) if name != method.type and getattr(method, name) is not None]


def resolve(method: dict[str, Any], *, num_examples: int) -> dict[str, Any]:
    """Return the method with numbers for every `auto`."""
    kind: Literal["supervised", "dpo"] = method["type"]
    resolved = {
        name: _auto(name, num_examples) if value == "auto" else value
        for name, value in method[kind]["hyperparameters"].items()
    }
    return {"type": kind, kind: {"hyperparameters": resolved}}


def numbers(method: dict[str, Any]) -> Hyperparameters:
    """Return the hyperparameters of a method that is resolved."""
    return Hyperparameters(**{"beta": _BETA} | method[method["type"]]["hyperparameters"])


def _requested(request: CreateFineTuningJobRequest, method: FineTuneMethod) -> dict[str, Any]:
    details: SupervisedMethod | DPOMethod | None = method.dpo if method.type == "dpo" else method.supervised
    if request.hyperparameters is None:
        chosen = details or (DPOMethod() if method.type == "dpo" else SupervisedMethod())
        return chosen.hyperparameters.model_dump()
    if method.type == "dpo" or details is not None:
        raise InvalidValueError(
            "Invalid 'hyperparameters': they are given in 'method', which replaces this older parameter.",
            param="hyperparameters",
        )
    return request.hyperparameters.model_dump()


def _auto(name: str, num_examples: int) -> int | float:
    match name:
        case "n_epochs":
            return _auto_epochs(num_examples)
        case "batch_size":
            return min(_MAX_BATCH_SIZE, math.ceil(num_examples / _EXAMPLES_FOR_EACH_IN_BATCH))
        case "beta":
            return _BETA
    return 1.0


def _auto_epochs(num_examples: int) -> int:
    if num_examples * _TARGET_EPOCHS < _MIN_EXAMPLES_SHOWN:
        return min(_MAX_EPOCHS, _MIN_EXAMPLES_SHOWN // num_examples)
    if num_examples * _TARGET_EPOCHS > _MAX_EXAMPLES_SHOWN:
        return max(1, _MAX_EXAMPLES_SHOWN // num_examples)
    return _TARGET_EPOCHS
