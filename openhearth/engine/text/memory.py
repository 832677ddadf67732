"""How much memory the text engine needs for a model, before it is loaded: from the headers of its weights alone."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from openhearth.engine.text.config import Dtype, EngineConfig
from openhearth.errors import ModelLoadError

_BYTES_PER_WEIGHT: dict[Dtype, float] = {"int8": 2.1, "f16": 9.0, "f32": 8.0}
"""What stays in memory for each weight (measured): the plugin keeps the graph's own constants beside the form that it
computes with, which is f32 for all but int8."""

_F32 = 4
_WIDTHS_HELD_AT_ONCE = 8
"""How many activations as wide as the model, or as its inner layer, may be alive at the same time; generous."""


def estimate_bytes(model: Path, config: EngineConfig) -> int:
    """Return the bytes that the model in a Hugging Face directory needs: weights, cache, and room to compute.

    Raises `ModelLoadError` if the weights cannot be read.
    """
    shapes = _shapes(model)
    decoder: dict[str, Any] = json.loads((model / "config.json").read_text())
    weights = sum(map(prod, shapes.values()))
    if "lm_head.weight" not in shapes:  # the head has a copy of its own of the embeddings
        weights += decoder["vocab_size"] * decoder["hidden_size"]
    return int(weights * _BYTES_PER_WEIGHT[config.dtype]) + config.kv_cache_bytes + _working_bytes(decoder, config)


def estimate_adapter_bytes(model: Path, config: EngineConfig) -> int:
    """Return the bytes that adapters need beside their model: its layers once more, in a graph for them, and a cache.

    Raises `ModelLoadError` if the weights cannot be read.
    """
    weights = sum(prod(shape) for name, shape in _shapes(model).items() if ".layers." in name)
    return int(weights * _BYTES_PER_WEIGHT[config.dtype]) + config.lora_cache_bytes


def _shapes(model: Path) -> dict[str, list[int]]:
    try:
        return dict(_read_shapes(model))
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"its weights cannot be read: {error}.") from error


def _read_shapes(model: Path) -> Iterator[tuple[str, list[int]]]:
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping, though it looks like one)
                yield name, file.get_slice(name).get_shape()


def _working_bytes(decoder: dict[str, Any], config: EngineConfig) -> int:
    """Return what one step needs at most: activations, and logits for every token of a prompt that is scored."""
    widths = _WIDTHS_HELD_AT_ONCE * (decoder["hidden_size"] + decoder["intermediate_size"]) + decoder["vocab_size"]
    return int(config.max_num_batched_tokens * widths * _F32)
