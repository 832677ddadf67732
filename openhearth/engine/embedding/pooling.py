"""From the hidden states of an input's tokens to its vector, the way the model's sentence-transformers files say.

Vectors always have length 1, whether the files ask for it or not: callers of the API rely on it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from openhearth.engine.embedding.architectures.graph import Inputs, int64
from openhearth.engine.embedding.tokenizer import default_prompt
from openhearth.errors import ModelLoadError

PoolingMode = Literal["cls", "mean", "last_token"]

_MODES: dict[str, PoolingMode] = {"cls": "cls", "mean": "mean", "lasttoken": "last_token"}
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingConfig:
    """How a model makes a vector: from which tokens, and what it puts before every text."""

    mode: PoolingMode = "mean"
    prompt: str = ""

    @classmethod
    def read(cls, model: Path) -> "PoolingConfig":
        """Read the sentence-transformers files of a directory; without them the mean is taken, as that library does.

        Raises `ModelLoadError`, naming the module or the mode, for what is not supported.
        """
        if not (model / "modules.json").is_file():
            return cls()
        mode: PoolingMode = "mean"
        for module in json.loads((model / "modules.json").read_bytes()):
            match module["type"].rpartition(".")[2]:
                case "Transformer" | "Normalize":
                    pass
                case "Pooling":
                    mode = _mode(json.loads((model / module["path"] / "config.json").read_bytes()))
                case other:
                    raise ModelLoadError(
                        f"The module {other!r} of {model / 'modules.json'} is not supported; Transformer, Pooling and "
                        "Normalize are."
                    )
        return cls(mode=mode, prompt=default_prompt(model))


def pool(hidden: ov.Output, inputs: Inputs, mode: PoolingMode) -> ov.Output:
    """Return one vector for each input, f32 `[B, H]`, of any length."""
    match mode:
        case "mean":  # or the sum, which has the same direction
            summed = ops.matmul(ops.unsqueeze(inputs.mask, int64(1)), hidden, False, False)
            return ops.squeeze(summed, int64(1)).output(0)
        case "cls":
            return ops.gather(hidden, ops.squeeze(int64(0), int64(0)), int64(1)).output(0)
        case "last_token":
            last = ops.subtract(inputs.lengths, ops.constant(np.int32(1)))
            picked = ops.gather(hidden, ops.unsqueeze(last, int64(1)), int64(1), batch_dims=1)
            return ops.squeeze(picked, int64(1)).output(0)


def _mode(config: Mapping[str, Any]) -> PoolingMode:
    declared = config.get("pooling_mode")
    names = (
        [declared] if isinstance(declared, str) else declared or [_FLAGS[flag] for flag in _FLAGS if config.get(flag)]
    )
    if len(names) != 1 or names[0] not in _MODES:
        raise ModelLoadError(
            f"Pooling by {' and '.join(names) or 'nothing'} is not supported; {', '.join(_MODES)} are."
        )
    return _MODES[names[0]]
