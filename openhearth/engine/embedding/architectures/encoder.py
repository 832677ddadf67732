"""Builds the graphs of BERT and its family: post-norm encoders that differ in names and in how they know positions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from openhearth.engine.embedding.architectures.graph import (
    Inputs,
    Layers,
    float32,
    int64,
    merge_heads,
    split_heads,
)
from openhearth.engine.text.architectures.weights import Weights
from openhearth.errors import ModelLoadError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """The names of one family's tensors, below the model and below a layer, and of its configuration's members."""

    prefix: str
    layer: str = "encoder.layer"
    attention: str = "attention.self"
    projections: tuple[str, str, str] = ("query", "key", "value")
    attention_output: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    intermediate: str = "intermediate.dense"
    output: str = "output.dense"
    output_norm: str = "output.LayerNorm"
    hidden_size: str = "hidden_size"
    num_layers: str = "num_hidden_layers"
    num_heads: str = "num_attention_heads"
    activation: str = "hidden_act"
    counts_from_padding: bool = False
    """Whether positions are counted from the id of the padding token, plus one, as RoBERTa does."""


_BERT = _Family(prefix="bert.")
_ROBERTA = _Family(prefix="roberta.", counts_from_padding=True)
_MPNET = _Family(
    prefix="mpnet.",
    attention="attention.attn",
    projections=("q", "k", "v"),
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
    counts_from_padding=True,
)
_DISTILBERT = _Family(
    prefix="distilbert.",
    layer="transformer.layer",
    attention="attention",
    projections=("q_lin", "k_lin", "v_lin"),
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    intermediate="ffn.lin1",
    output="ffn.lin2",
    output_norm="output_layer_norm",
    hidden_size="dim",
    num_layers="n_layers",
    num_heads="n_heads",
    activation="activation",
)
_FAMILIES = {"Bert": _BERT, "Roberta": _ROBERTA, "XLMRoberta": _ROBERTA, "MPNet": _MPNET, "DistilBert": _DISTILBERT}
_FAMILY_OF = {f"{name}{kind}": family for name, family in _FAMILIES.items() for kind in ("Model", "ForMaskedLM")}

ENCODER_ARCHITECTURES = tuple(_FAMILY_OF)
"""What this builder knows."""

_MAX_DISTANCE = 128
_ACTIVATIONS = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


class EncoderBuilder:
    """Builds one encoder."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        """Read a `config.json`. Raises `ModelLoadError` for what this builder does not know."""
        self._family = _FAMILY_OF[config["architectures"][0]]
        _refuse_unknown(config, self._family)
        self._layers = Layers(weights)
        self._weights = weights
        self._prefix = (
            self._family.prefix if any(name.startswith(self._family.prefix) for name in weights.names) else ""
        )
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._activation = config.get(self._family.activation, "gelu")
        self._num_layers = int(config[self._family.num_layers])
        self._num_heads = int(config[self._family.num_heads])
        self.hidden_size = int(config[self._family.hidden_size])
        self._first_position = config.get("pad_token_id", 1) + 1 if self._family.counts_from_padding else 0
        self.max_model_len = int(config["max_position_embeddings"]) - self._first_position

    def build(self, inputs: Inputs) -> ov.Output:
        """Return the hidden states of the last layer, f32 `[B, S, H]`."""
        hidden = self._embed(inputs)
        bias = self._attention_bias(inputs)
        for layer in range(self._num_layers):
            hidden = self._layer(hidden, bias, f"{self._prefix}{self._family.layer}.{layer}")
        return hidden

    def _embed(self, inputs: Inputs) -> ov.Output:
        prefix = f"{self._prefix}embeddings"
        positions: NDArray[np.float32] = self._weights[f"{prefix}.position_embeddings.weight"][self._first_position :]
        if (types := f"{prefix}.token_type_embeddings.weight") in self._weights:
            positions = positions + self._weights[types][0]
        words = self._layers.look_up(f"{prefix}.word_embeddings", inputs.input_ids.output(0))
        placed = ops.add(words, ops.gather(ops.constant(positions), inputs.positions, int64(0))).output(0)
        return self._layers.layer_norm(placed, f"{prefix}.LayerNorm", self._epsilon)

    def _attention_bias(self, inputs: Inputs) -> ov.Output:
        """Return what is added to the scores: f32 `[B, 1, 1, S]`, or `[B, heads, S, S]` where distances count."""
        table = f"{self._prefix}encoder.relative_attention_bias.weight"
        if table not in self._weights:
            return inputs.padding_bias()
        distances = ops.subtract(ops.unsqueeze(inputs.positions, int64(0)), ops.unsqueeze(inputs.positions, int64(1)))
        by_distance = self._bias_by_distance(self._weights[table])
        rows = ops.add(distances, ops.constant(np.int32(self.max_model_len - 1)))
        biases = ops.gather(ops.constant(by_distance), rows, int64(0))  # [S, S, heads]
        per_head = ops.unsqueeze(ops.transpose(biases, int64(2, 0, 1)), int64(0))
        return ops.add(per_head, inputs.padding_bias()).output(0)

    def _bias_by_distance(self, table: NDArray[np.float32]) -> NDArray[np.float32]:
        """Spread the buckets of MPNet's relative positions out: `[2 * max_model_len - 1, heads]`.

        Half of the buckets look back, half ahead; near distances have one each, far ones share them by logarithm
        (https://arxiv.org/abs/1910.10683, section 2.1).
        """
        distances = np.arange(1 - self.max_model_len, self.max_model_len)
        half = table.shape[0] // 2
        exact = half // 2
        far = np.log(np.maximum(np.abs(distances), 1) / exact) / np.log(_MAX_DISTANCE / exact) * (half - exact)
        shared = np.minimum(exact + far.astype(np.int64), half - 1)
        buckets = np.where(np.abs(distances) < exact, np.abs(distances), shared) + np.where(distances > 0, half, 0)
        return np.ascontiguousarray(table[buckets])

    def _layer(self, hidden: ov.Output, bias: ov.Output, prefix: str) -> ov.Output:
        family, layers = self._family, self._layers
        attended = layers.linear(self._attend(hidden, bias, prefix), f"{prefix}.{family.attention_output}")
        summed = ops.add(hidden, attended).output(0)
        hidden = layers.layer_norm(summed, f"{prefix}.{family.attention_norm}", self._epsilon)
        inner = self._activate(layers.linear(hidden, f"{prefix}.{family.intermediate}"))
        summed = ops.add(hidden, layers.linear(inner, f"{prefix}.{family.output}")).output(0)
        return layers.layer_norm(summed, f"{prefix}.{family.output_norm}", self._epsilon)

    def _attend(self, hidden: ov.Output, bias: ov.Output, prefix: str) -> ov.Output:
        head_dim = self.hidden_size // self._num_heads
        query, key, value = (
            split_heads(
                self._layers.linear(hidden, f"{prefix}.{self._family.attention}.{name}"), self._num_heads, head_dim
            )
            for name in self._family.projections
        )
        scale = float32(head_dim**-0.5)
        attended = ops.scaled_dot_product_attention(query, key, value, attention_mask=bias, scale=scale)
        return merge_heads(attended.output(0), self.hidden_size)

    def _activate(self, inner: ov.Output) -> ov.Output:
        if self._activation == "relu":
            return ops.relu(inner).output(0)
        return ops.gelu(inner, _ACTIVATIONS[self._activation]).output(0)


def _refuse_unknown(config: Mapping[str, Any], family: _Family) -> None:
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise ModelLoadError(f"Position embeddings of the type {positions!r} are not supported; absolute ones are.")
    activation = config.get(family.activation, "gelu")
    if activation != "relu" and activation not in _ACTIVATIONS:
        raise ModelLoadError(f"The activation {activation!r} is not supported; {', '.join(_ACTIVATIONS)} and relu are.")
