"""Builds the graph of a Llama-like decoder over OpenVINO's paged attention.

Tokens of all sequences of a step lie one after the other; `T` is their number, `S` that of the sequences and `R` that
of the rows whose logits are wanted. Inputs:

    input_ids, position_ids          i64 [T]
    past_lens                        i32 [S]      tokens of each sequence that are in the cache already
    subsequence_begins               i32 [S + 1]  where each sequence's new tokens begin
    block_indices                    i32 [*]      the block tables, one after the other
    block_indices_begins             i32 [S + 1]  where each block table begins
    max_context_len                  i32 []       the longest sequence, new tokens included
    logit_rows                       i32 [R]      positions in [T]
    key_cache.N, value_cache.N       one pair a layer, in the plugin's own type and layout

and, in a graph that serves LoRA adapters (see `lora.py`) at some places, with K projections joined at a place and
adapters of rank `A` in all:

    lora_gate                        f32 [T, A]           which ranks each token uses
    lora_a.N.PLACE                   [K * A, inputs], in the precision the plugin computes in
    lora_b.N.PLACE                   [outputs, K * A], likewise

Output: hidden states f32 [R, hidden_size]. The language-model head is a graph of its own, hidden states in and logits
f32 [R, vocab_size] out: it is computed in 32 bits even where the layers are not, since logits rounded to bfloat16 have
steps of 1/8 and make equals of different tokens.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino.op import _PagedAttentionExtension

from openhearth.engine.text.architectures.config import PLACES, DecoderConfig
from openhearth.engine.text.architectures.weights import Weights, matrix_constant, table_constant
from openhearth.engine.text.config import Dtype


def _int64(*values: int) -> ov.Output:
    return ops.constant(np.array(values, dtype=np.int64)).output(0)


def _float32(value: float) -> ov.Output:
    return ops.constant(np.float32(value)).output(0)


def _int32_scalar() -> ov.Output:
    return ops.constant(np.int32(0)).output(0)


def _empty(dtype: type[np.generic], rank: int = 1) -> ov.Output:
    return ops.constant(np.zeros((0,) * rank, dtype=dtype)).output(0)


def _parameter(name: str, dtype: ov.Type, shape: list[int]) -> ov.op.Parameter:
    parameter = ops.parameter(ov.PartialShape(shape), dtype)
    parameter.set_friendly_name(name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


@dataclass(frozen=True, slots=True)
class _StepInputs:
    """The graph inputs that every layer shares."""

    input_ids: ov.op.Parameter
    position_ids: ov.op.Parameter
    past_lens: ov.op.Parameter
    subsequence_begins: ov.op.Parameter
    block_indices: ov.op.Parameter
    block_indices_begins: ov.op.Parameter
    max_context_len: ov.op.Parameter
    logit_rows: ov.op.Parameter

    @classmethod
    def create(cls) -> "_StepInputs":
        return cls(
            input_ids=_parameter("input_ids", ov.Type.i64, [-1]),
            position_ids=_parameter("position_ids", ov.Type.i64, [-1]),
            past_lens=_parameter("past_lens", ov.Type.i32, [-1]),
            subsequence_begins=_parameter("subsequence_begins", ov.Type.i32, [-1]),
            block_indices=_parameter("block_indices", ov.Type.i32, [-1]),
            block_indices_begins=_parameter("block_indices_begins", ov.Type.i32, [-1]),
            max_context_len=_parameter("max_context_len", ov.Type.i32, []),
            logit_rows=_parameter("logit_rows", ov.Type.i32, [-1]),
        )

    @property
    def parameters(self) -> list[ov.op.Parameter]:
        return [getattr(self, name) for name in self.__slots__]


class DecoderBuilder:
    """Builds one decoder. Only the rotary kernel wants more than two axes: matrices keep the small products fast."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: Weights,
        dtype: Dtype,
        *,
        lora_type: ov.Type = ov.Type.f32,
        lora_places: Collection[str] = (),
    ) -> None:
        self._config = config
        self._weights = weights
        self._dtype = dtype
        self._inputs = _StepInputs.create()
        self._caches: list[ov.op.Parameter] = []
        self._lora_type = lora_type
        self._lora_places = lora_places
        self._lora_gate = _parameter("lora_gate", ov.Type.f32, [-1, -1]) if lora_places else None
        self._lora_factors: list[ov.op.Parameter] = []
        self._gates: dict[int, ov.Output] = {}
        self._cos, self._sin = self._rotary_tables()

    def build(self) -> ov.Model:
        """Return the layers from token ids to hidden states; raises `ModelLoadError` if a tensor is missing."""
        embedding = table_constant(self._weights["model.embed_tokens.weight"], self._dtype)
        # [T, hidden_size]
        hidden = ops.gather(embedding, self._inputs.input_ids, ops.constant(np.int64(0))).output(0)
        for layer in range(self._config.num_layers):
            hidden = self._layer(hidden, layer)
        wanted = ops.gather(hidden, self._inputs.logit_rows, ops.constant(np.int64(0))).output(0)
        lora_inputs = [self._lora_gate, *self._lora_factors] if self._lora_gate is not None else []
        return ov.Model([wanted], self._inputs.parameters + self._caches + lora_inputs, "decoder")

    def build_head(self) -> ov.Model:
        """Return the final norm and the projection to the vocabulary."""
        hidden = _parameter("hidden", ov.Type.f32, [-1, self._config.hidden_size])
        normed = self._rms_norm(hidden.output(0), "model.norm.weight")
        tied = "lm_head.weight" not in self._weights
        head_name = "model.embed_tokens.weight" if tied else "lm_head.weight"
        head = matrix_constant(self._weights[head_name], self._dtype)
        logits = ops.matmul(normed, head, False, True)
        return ov.Model([logits.output(0)], [hidden], "head")

    def _layer(self, hidden: ov.Output, layer: int) -> ov.Output:
        prefix = f"model.layers.{layer}"
        attended = self._attention(self._rms_norm(hidden, f"{prefix}.input_layernorm.weight"), layer)
        hidden = ops.add(hidden, attended).output(0)
        normed = self._rms_norm(hidden, f"{prefix}.post_attention_layernorm.weight")
        return ops.add(hidden, self._feed_forward(normed, layer)).output(0)

    def _attention(self, hidden: ov.Output, layer: int) -> ov.Output:
        config, prefix = self._config, f"model.layers.{layer}.self_attn"
        query, key, value = self._project_and_split(hidden, layer, "qkv")
        query = self._positioned(query, config.num_heads, f"{prefix}.q_norm.weight", layer)
        key = self._positioned(key, config.num_kv_heads, f"{prefix}.k_norm.weight", layer)
        attended = self._paged_attention(query, key, value, layer)
        return self._project(attended, layer, "o")

    def _positioned(self, projected: ov.Output, num_heads: int, norm: str, layer: int) -> ov.Output:
        """Split into heads, normalise each if the model does, rotate by position, and flatten again."""
        heads = ops.reshape(projected, _int64(-1, 1, num_heads, self._config.head_dim), False).output(0)
        if norm in self._weights:
            heads = self._rms_norm(heads, norm)
        if self._config.uses_rope[layer]:
            heads = ops.transpose(heads, _int64(0, 2, 1, 3)).output(0)
            heads = ops.transpose(self._rotate(heads), _int64(0, 2, 1, 3)).output(0)
        return ops.reshape(heads, _int64(-1, num_heads * self._config.head_dim), False).output(0)

    def _paged_attention(self, query: ov.Output, key: ov.Output, value: ov.Output, layer: int) -> ov.Output:
        config, inputs = self._config, self._inputs
        shape = [-1, config.num_kv_heads, -1, config.head_dim]
        caches = [_parameter(f"{name}_cache.{layer}", ov.Type.dynamic, shape) for name in ("key", "value")]
        self._caches += caches
        node = _PagedAttentionExtension(
            [query, key, value]
            + [cache.output(0) for cache in caches]
            + [inputs.past_lens.output(0), inputs.subsequence_begins.output(0)]
            + [inputs.block_indices.output(0), inputs.block_indices_begins.output(0)]
            + [_float32(config.head_dim**-0.5), ops.constant(np.int32(config.sliding_windows[layer])).output(0)]
            + [_empty(np.float32), inputs.max_context_len.output(0)]
            + _unused_attention_inputs()
        )
        info = node.get_rt_info()
        info["num_k_heads"] = info["num_v_heads"] = config.num_kv_heads
        info["k_head_size"] = info["v_head_size"] = config.head_dim
        return node.output(0)

    def _feed_forward(self, hidden: ov.Output, layer: int) -> ov.Output:
        gate, up = self._project_and_split(hidden, layer, "gate_up")
        gated = ops.multiply(ops.swish(gate), up).output(0)
        return self._project(gated, layer, "down")

    def _project_and_split(self, hidden: ov.Output, layer: int, place: str) -> list[ov.Output]:
        _, sizes = self._config.place_sizes[place]
        projected = self._project(hidden, layer, place)
        outputs: list[ov.Output] = ops.variadic_split(projected, ops.constant(np.int64(1)), _int64(*sizes)).outputs()
        return outputs

    def _project(self, hidden: ov.Output, layer: int, place: str) -> ov.Output:
        """Multiply by the rows of all projections of a place, one after the other, and add what adapters change."""
        names = [f"model.layers.{layer}.{projection}" for projection in PLACES[place]]
        weight = np.concatenate([self._weights[f"{name}.weight"] for name in names])
        projected = ops.matmul(hidden, matrix_constant(weight, self._dtype), False, True).output(0)
        if f"{names[0]}.bias" in self._weights:
            bias = np.concatenate([self._weights[f"{name}.bias"] for name in names])
            projected = ops.add(projected, ops.constant(bias)).output(0)
        return self._adapt(projected, hidden, layer, place)

    def _adapt(self, projected: ov.Output, hidden: ov.Output, layer: int, place: str) -> ov.Output:
        if place not in self._lora_places:
            return projected
        num_inputs, outputs = self._config.place_sizes[place]
        a = _parameter(f"lora_a.{layer}.{place}", self._lora_type, [-1, num_inputs])
        b = _parameter(f"lora_b.{layer}.{place}", self._lora_type, [sum(outputs), -1])
        self._lora_factors += [a, b]
        narrow = ops.multiply(ops.matmul(hidden, ops.convert(a, "f32"), False, True), self._gate(len(outputs)))
        return ops.add(projected, ops.matmul(narrow, ops.convert(b, "f32"), False, True)).output(0)

    def _gate(self, num_projections: int) -> ov.Output:
        """Return the gate `[T, num_projections * A]` for a place that joins so many projections."""
        if num_projections not in self._gates:
            self._gates[num_projections] = ops.concat([self._lora_gate] * num_projections, -1).output(0)
        return self._gates[num_projections]

    def _rms_norm(self, hidden: ov.Output, name: str) -> ov.Output:
        """Divide by the root mean square over the last axis (https://arxiv.org/abs/1910.07467)."""
        mean = ops.reduce_mean(ops.power(hidden, _float32(2)), _int64(-1), True)
        root = ops.sqrt(ops.add(mean, _float32(self._config.rms_norm_eps)))
        scaled = ops.multiply(hidden, ops.divide(_float32(1), root))
        return ops.multiply(scaled, ops.constant(self._weights[name])).output(0)

    def _rotary_tables(self) -> tuple[ov.Output, ov.Output]:
        """Return cosine and sine of each token's angles, shape `[T, head_dim]`."""
        frequencies: NDArray[np.float32] = self._config.inverse_frequencies.reshape(1, 1, -1)
        positions = ops.convert(ops.unsqueeze(self._inputs.position_ids, _int64(1, 2)), "f32")
        angles = ops.multiply(positions, ops.constant(frequencies))
        both = ops.concat([angles, angles], -1)
        return ops.unsqueeze(ops.cos(both), _int64(1)).output(0), ops.unsqueeze(ops.sin(both), _int64(1)).output(0)

    def _rotate(self, heads: ov.Output) -> ov.Output:
        """Rotate halves of each head by position; written the way the plugin recognises and fuses."""
        half = self._config.head_dim // 2
        first = ops.slice(heads, _int64(0), _int64(half), _int64(1), _int64(3))
        second = ops.slice(heads, _int64(half), _int64(np.iinfo(np.int64).max), _int64(1), _int64(3))
        turned = ops.concat([ops.multiply(second, _float32(-1)), first], -1)
        return ops.add(ops.multiply(heads, self._cos), ops.multiply(turned, self._sin)).output(0)


def _unused_attention_inputs() -> list[ov.Output]:
    """The optional inputs of paged attention (scores, cache rotation and eviction, sinks), all left empty."""
    return [
        _empty(np.int32),
        _empty(np.int32),
        _empty(np.int32),
        _empty(np.float32),
        _empty(np.float32),
        _int32_scalar(),
        _int32_scalar(),
        _empty(np.float32, rank=4),
        _int32_scalar(),
        _empty(np.int32),
        _empty(np.int32),
        _empty(np.int32),
        _empty(np.int32),
        _empty(np.uint8),
        _empty(np.int32),
    ]
