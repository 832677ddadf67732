"""Runs the compiled model over one batch after the other; knows token ids and vectors, and no requests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from openhearth.engine.base import EmbeddingSpec
from openhearth.engine.embedding.architectures.decoder import DECODER_ARCHITECTURES, DecoderBuilder
from openhearth.engine.embedding.architectures.encoder import ENCODER_ARCHITECTURES, EncoderBuilder
from openhearth.engine.embedding.architectures.graph import Inputs
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.embedding.pooling import PoolingMode, pool
from openhearth.engine.embedding.vectors import normalized
from openhearth.engine.text.architectures.weights import Weights
from openhearth.errors import ModelLoadError

_FINE_STEP = 8
_COARSE_STEP = 32
_FINE_LENGTHS = 64


def padded_length(longest: int) -> int:
    """Return the length to which a batch is padded: few different ones, since each costs a compilation at first."""
    step = _FINE_STEP if longest <= _FINE_LENGTHS else _COARSE_STEP
    return -(-longest // step) * step


class ModelRunner:
    """One compiled model."""

    def __init__(self, model: Path, config: EmbeddingConfig, pooling: PoolingMode) -> None:
        """Build and compile the model in a Hugging Face directory; takes seconds.

        Raises `ModelLoadError`, naming what is not supported.
        """
        model_config = json.loads((model / "config.json").read_bytes())
        builder = _builder(model_config, Weights(model))
        self.spec = EmbeddingSpec(
            dimensions=builder.hidden_size,
            max_model_len=builder.max_model_len,
            vocab_size=int(model_config["vocab_size"]),
            is_matryoshka=bool(model_config.get("is_matryoshka") or model_config.get("matryoshka_dimensions")),
        )
        inputs = Inputs.create()
        graph = ov.Model([pool(builder.build(inputs), inputs, pooling)], inputs.parameters, "embedding")
        self._request = ov.Core().compile_model(graph, "CPU", _options(config)).create_infer_request()

    def run(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the vectors of a batch of token ids, `[len(batch), dimensions]`."""
        lengths = np.array([len(token_ids) for token_ids in batch], dtype=np.int32)
        width = min(padded_length(int(lengths.max())), self.spec.max_model_len)
        input_ids = np.zeros((len(batch), width), dtype=np.int32)
        for row, token_ids in zip(input_ids, batch, strict=True):
            row[: len(token_ids)] = token_ids
        self._request.set_tensor("input_ids", ov.Tensor(input_ids))
        self._request.set_tensor("lengths", ov.Tensor(lengths))
        self._request.infer()
        return normalized(self._request.get_output_tensor(0).data)


def _builder(config: dict[str, Any], weights: Weights) -> EncoderBuilder | DecoderBuilder:
    architecture = str((config.get("architectures") or ["an unnamed architecture"])[0])
    if architecture in ENCODER_ARCHITECTURES:
        return EncoderBuilder(config, weights)
    if architecture in DECODER_ARCHITECTURES:
        return DecoderBuilder(config, weights)
    known = ", ".join(ENCODER_ARCHITECTURES + DECODER_ARCHITECTURES)
    raise ModelLoadError(f"The embedding engine cannot build {architecture}; it knows {known}.")


def _options(config: EmbeddingConfig) -> dict[str, Any]:
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": config.dtype}
    if config.num_threads is not None:
        options["INFERENCE_NUM_THREADS"] = config.num_threads
    return options
