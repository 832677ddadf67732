"""Builds the graph of a Llama-like decoder that reads whole inputs at once and keeps no cache.

Padding lies on the right, where no token that counts can look, so the causal mask is all the masking there is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from openhearth.engine.embedding.architectures.graph import (
    Inputs,
    Layers,
    float32,
    forbid,
    int64,
    merge_heads,
    split_heads,
)
from openhearth.engine.text.architectures.config import SUPPORTED_ARCHITECTURES, DecoderConfig
from openhearth.engine.text.architectures.weights import Weights

_CAUSAL_LM_OF = {name: name for name in SUPPORTED_ARCHITECTURES} | {
    name.replace("ForCausalLM", "Model"): name for name in SUPPORTED_ARCHITECTURES
}

DECODER_ARCHITECTURES = tuple(_CAUSAL_LM_OF)
"""What this builder knows."""


class DecoderBuilder:
    """Builds one decoder."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        """Read a `config.json`. Raises `ModelLoadError` for what this builder does not know."""
        architecture = _CAUSAL_LM_OF[config["architectures"][0]]
        self._config = DecoderConfig.from_dict({**config, "architectures": [architecture]})
        self._layers = Layers(weights)
        self._prefix = "model." if "model.embed_tokens.weight" in weights else ""
        self.hidden_size = self._config.hidden_size
        self.max_model_len = self._config.max_position_embeddings

    def build(self, inputs: Inputs) -> ov.Output:
        """Return the hidden states after the final norm, f32 `[B, S, H]`."""
        hidden = self._layers.look_up(f"{self._prefix}embed_tokens", inputs.input_ids.output(0))
        rotation = self._rotation(inputs)
        for layer, window in enumerate(self._config.sliding_windows):
            mask = _causal_mask(inputs, window)
            hidden = self._layer(hidden, mask, rotation if self._config.uses_rope[layer] else None, layer)
        return self._norm(hidden, f"{self._prefix}norm")

    def _layer(
        self, hidden: ov.Output, mask: ov.Output, rotation: tuple[ov.Output, ov.Output] | None, layer: int
    ) -> ov.Output:
        prefix = f"{self._prefix}layers.{layer}"
        attended = self._attend(self._norm(hidden, f"{prefix}.input_layernorm"), mask, rotation, f"{prefix}.self_attn")
        hidden = ops.add(hidden, attended).output(0)
        normed = self._norm(hidden, f"{prefix}.post_attention_layernorm")
        gate, up = (self._layers.linear(normed, f"{prefix}.mlp.{name}_proj") for name in ("gate", "up"))
        gated = ops.multiply(ops.swish(gate), up).output(0)
        return ops.add(hidden, self._layers.linear(gated, f"{prefix}.mlp.down_proj")).output(0)

    def _attend(
        self, hidden: ov.Output, mask: ov.Output, rotation: tuple[ov.Output, ov.Output] | None, prefix: str
    ) -> ov.Output:
        config = self._config
        query = self._heads(hidden, rotation, prefix, "q", config.num_heads)
        key = self._repeated(self._heads(hidden, rotation, prefix, "k", config.num_kv_heads))
        value = split_heads(self._layers.linear(hidden, f"{prefix}.v_proj"), config.num_kv_heads, config.head_dim)
        scale = float32(config.head_dim**-0.5)
        attended = ops.scaled_dot_product_attention(
            query, key, self._repeated(value), attention_mask=mask, scale=scale
        ).output(0)
        merged = merge_heads(attended, config.num_heads * config.head_dim)
        return self._layers.linear(merged, f"{prefix}.o_proj")

    def _heads(
        self, hidden: ov.Output, rotation: tuple[ov.Output, ov.Output] | None, prefix: str, name: str, num_heads: int
    ) -> ov.Output:
        """Project, split into heads, normalise each if the model does, and rotate by position."""
        config = self._config
        heads = split_heads(self._layers.linear(hidden, f"{prefix}.{name}_proj"), num_heads, config.head_dim)
        if f"{prefix}.{name}_norm.weight" in self._layers:
            heads = self._norm(heads, f"{prefix}.{name}_norm")
        return heads if rotation is None else self._rotate(heads, *rotation)

    def _repeated(self, heads: ov.Output) -> ov.Output:
        """Give each group of query heads the key or value head that it shares."""
        config = self._config
        if config.num_heads == config.num_kv_heads:
            return heads
        group = config.num_heads // config.num_kv_heads
        copies = ops.tile(ops.unsqueeze(heads, int64(2)), int64(1, 1, group, 1, 1))
        merged = ops.squeeze(ops.reshape(copies, int64(0, config.num_heads, 1, -1, config.head_dim), True), int64(2))
        return merged.output(0)

    def _norm(self, hidden: ov.Output, name: str) -> ov.Output:
        return self._layers.rms_norm(hidden, name, self._config.rms_norm_eps)

    def _rotation(self, inputs: Inputs) -> tuple[ov.Output, ov.Output]:
        """Return cosine and sine of each position's angles, f32 `[1, 1, S, head_dim]`."""
        positions = ops.convert(ops.unsqueeze(inputs.positions, int64(0, 1, 3)), "f32")
        angles = ops.multiply(positions, ops.constant(self._config.inverse_frequencies.reshape(1, 1, 1, -1)))
        both = ops.concat([angles, angles], -1)
        return ops.cos(both).output(0), ops.sin(both).output(0)

    def _rotate(self, heads: ov.Output, cos: ov.Output, sin: ov.Output) -> ov.Output:
        half = self._config.head_dim // 2
        first = ops.slice(heads, int64(0), int64(half), int64(1), int64(3))
        second = ops.slice(heads, int64(half), int64(np.iinfo(np.int64).max), int64(1), int64(3))
        turned = ops.concat([ops.multiply(second, float32(-1)), first], -1)
        return ops.add(ops.multiply(heads, cos), ops.multiply(turned, sin)).output(0)


def _causal_mask(inputs: Inputs, window: int) -> ov.Output:
    """Return what keeps tokens from looking ahead, or further back than the window: f32 `[1, 1, S, S]`."""
    past = ops.subtract(ops.unsqueeze(inputs.positions, int64(1)), ops.unsqueeze(inputs.positions, int64(0)))
    mask = ops.greater_equal(past, ops.constant(np.int32(0)))
    if window:
        mask = ops.logical_and(mask, ops.less(past, ops.constant(np.int32(window))))
    return forbid(ops.unsqueeze(ops.convert(mask, "f32"), int64(0, 1)).output(0))
