"""A model in Hugging Face layout written as one GGUF file: the way back of `gguf_convert`, for llama.cpp and its kin.

Keys and names are those of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Matrices are written as f16,
vectors, which llama.cpp wants so, as f32.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, LlamaFileType, RopeScalingType
from numpy.typing import NDArray
from safetensors import safe_open

from openhearth.catalog.gguf_config import FAMILIES, LAYERS_PER_LAYER_WITHOUT_ROPE, Family, llama3_factors
from openhearth.catalog.gguf_tensors import gguf_name, halves_together
from openhearth.catalog.gguf_vocabulary import add_vocabulary
from openhearth.errors import ConfigurationError

_OTHER_NAMES = {"MistralForCausalLM": "llama"}


def export_gguf(model: Path, tokenizer: Path, file: Path, *, name: str) -> None:
    """Write the f32 or f16 weights in the directory `model`, and the tokenizer in another, to `file`.

    Raises `ConfigurationError` for what llama.cpp, or this program reading it again, would understand differently.
    """
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    arch = _arch(config)
    writer = GGUFWriter(file, arch)
    writer.add_name(name)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    _add_sizes(writer, config)
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    writer.add_rope_freq_base(theta)
    _add_rope_scaling(writer, rope, theta, num_factors=_head_dim(config) // 2)
    add_vocabulary(writer, tokenizer, vocab_size=config["vocab_size"])
    for tensor_name, values in _tensors(model, config, FAMILIES[arch]):
        writer.add_tensor(tensor_name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _arch(config: dict[str, Any]) -> str:
    architecture = config["architectures"][0]
    known = {family.architecture: arch for arch, family in FAMILIES.items()} | _OTHER_NAMES
    if architecture not in known:
        raise ConfigurationError(f"{architecture} cannot be written as GGUF; export it with --format merged.")
    used = config.get("no_rope_layers")
    expected = [int((layer + 1) % LAYERS_PER_LAYER_WITHOUT_ROPE != 0) for layer in range(config["num_hidden_layers"])]
    if known[architecture] == "smollm3" and used != expected:
        raise ConfigurationError("GGUF cannot say which layers go without positions; export with --format merged.")
    return known[architecture]


def _head_dim(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _add_sizes(writer: GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(_context_length(config))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(_num_kv_heads(config))
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _num_kv_heads(config: dict[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _context_length(config: dict[str, Any]) -> int:
    """Return how far the model goes without a sliding window, which these architectures lack in llama.cpp."""
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    return int(min(config["max_position_embeddings"], window or config["max_position_embeddings"]))


def _add_rope_scaling(writer: GGUFWriter, rope: dict[str, Any], theta: float, *, num_factors: int) -> None:
    match rope.get("rope_type", rope.get("type", "default")):
        case "default":
            pass
        case "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        case "llama3":
            factors = llama3_factors(rope, theta=theta, num_factors=num_factors)
            writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
        case other:
            raise ConfigurationError(f"Rotary scaling {other!r} cannot be written as GGUF; use --format merged.")


def _tensors(model: Path, config: dict[str, Any], family: Family) -> Iterator[tuple[str, NDArray[Any]]]:
    heads = {"q_proj": config["num_attention_heads"], "k_proj": _num_kv_heads(config)}
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping, though it looks like one)
                values = tensors.get_tensor(name).astype(np.float32)
                projection = name.split(".")[-2]
                if family.has_interleaved_rope and projection in heads:
                    values = halves_together(values, heads[projection])
                yield gguf_name(name), _stored(values)


def _stored(values: NDArray[np.float32]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if values.ndim > 1 and np.isfinite(half).all() else np.ascontiguousarray(values)
