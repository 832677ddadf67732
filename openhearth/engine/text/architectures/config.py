"""What a builder has to know of a decoder, read from a Hugging Face `config.json`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhearth.errors import ModelLoadError

SUPPORTED_ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
)
PLACES: dict[str, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""The multiplications of a layer, and the projections that each joins, in the order of their rows."""

_ACTIVATIONS = ("silu", "swish")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """A Llama-like decoder; sizes in elements, one entry per layer where layers may differ."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    max_position_embeddings: int
    inverse_frequencies: NDArray[np.float32]
    sliding_windows: tuple[int, ...]
    uses_rope: tuple[bool, ...]

    @property
    def place_sizes(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """The input size of each place, and the output size of each projection it joins."""
        query, key = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        hidden, inner = self.hidden_size, self.intermediate_size
        return {
            "qkv": (hidden, (query, key, key)),
            "o": (query, (hidden,)),
            "gate_up": (hidden, (inner, inner)),
            "down": (inner, (hidden,)),
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "DecoderConfig":
        """Read the members of a `config.json`; raises `ModelLoadError` for what no builder supports."""
        architecture = _architecture(config)
        num_layers = config["num_hidden_layers"]
        num_heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // num_heads
        return cls(
            architecture=architecture,
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_layers=num_layers,
            num_heads=num_heads,
            num_kv_heads=config.get("num_key_value_heads") or num_heads,
            head_dim=head_dim,
            rms_norm_eps=config.get("rms_norm_eps", 1e-6),
            max_position_embeddings=config.get("max_position_embeddings", 2048),
            inverse_frequencies=_inverse_frequencies(config, head_dim),
            sliding_windows=_sliding_windows(config, num_layers),
            uses_rope=_uses_rope(config, num_layers),
        )


def _architecture(config: Mapping[str, Any]) -> str:
    architecture = str((config.get("architectures") or ["an unnamed architecture"])[0])
    if architecture not in SUPPORTED_ARCHITECTURES:
        known = ", ".join(SUPPORTED_ARCHITECTURES)
        raise ModelLoadError(f"The text engine cannot build {architecture}; it knows {known}.")
    if config.get("hidden_act", "silu") not in _ACTIVATIONS:
        raise ModelLoadError(f"The activation {config['hidden_act']!r} of {architecture} is not supported; silu is.")
    return architecture


def _sliding_windows(config: Mapping[str, Any], num_layers: int) -> tuple[int, ...]:
    """Return how many positions each layer looks back, 0 for all of them."""
    window = config.get("sliding_window") or 0
    if not config.get("use_sliding_window", True):
        window = 0
    layer_types = config.get("layer_types")
    if layer_types:
        return tuple(window if layer_type == "sliding_attention" else 0 for layer_type in layer_types)
    first = config.get("max_window_layers", 0) if config.get("use_sliding_window") else 0
    return tuple(window if layer >= first else 0 for layer in range(num_layers))


def _uses_rope(config: Mapping[str, Any], num_layers: int) -> tuple[bool, ...]:
    """SmolLM3 leaves positions out of some layers; its `no_rope_layers` holds 1 where they are used."""
    return tuple(bool(used) for used in config.get("no_rope_layers") or [1] * num_layers)


def _inverse_frequencies(config: Mapping[str, Any], head_dim: int) -> NDArray[np.float32]:
    """Return the rotary frequencies, shape `[head_dim // 2]` (https://arxiv.org/abs/2104.09864), scaled as asked."""
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    if float(rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0) != 1.0:
        raise ModelLoadError("Rotary embeddings over a part of each head are not supported.")
    frequencies = 1.0 / theta ** (np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    match rope.get("rope_type", rope.get("type", "default")):
        case "default":
            scaled = frequencies
        case "linear":
            scaled = frequencies / float(rope["factor"])
        case "llama3":
            scaled = _scale_llama3(frequencies, rope)
        case other:
            raise ModelLoadError(f"Rotary scaling {other!r} is not supported; default, linear and llama3 are.")
    return scaled.astype(np.float32)


def _scale_llama3(frequencies: NDArray[np.float64], rope: Mapping[str, Any]) -> NDArray[np.float64]:
    """Slow down low frequencies, keep high ones and blend between (Llama 3.1, https://arxiv.org/abs/2407.21783)."""
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    wavelengths = 2 * np.pi / frequencies
    smooth = (rope["original_max_position_embeddings"] / wavelengths - low) / (high - low)
    smooth = np.clip(smooth, 0, 1)
    scaled: NDArray[np.float64] = (1 - smooth) * frequencies / factor + smooth * frequencies
    return scaled
