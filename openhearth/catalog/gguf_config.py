"""The `config.json` of a GGUF model: llama.cpp's metadata in the words of Hugging Face."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhearth.catalog.gguf_file import GGUFFile
from openhearth.errors import ModelLoadError


@dataclass(frozen=True, slots=True)
class Family:
    """How an architecture of llama.cpp is called elsewhere, and whether its rotary rows lie interleaved."""

    architecture: str
    model_type: str
    has_interleaved_rope: bool


FAMILIES = {
    # Mistral models are "llama" in llama.cpp.
    "llama": Family("LlamaForCausalLM", "llama", has_interleaved_rope=True),
    "qwen2": Family("Qwen2ForCausalLM", "qwen2", has_interleaved_rope=False),
    "qwen3": Family("Qwen3ForCausalLM", "qwen3", has_interleaved_rope=False),
    "smollm3": Family("SmolLM3ForCausalLM", "smollm3", has_interleaved_rope=True),
}

# SmolLM3 leaves positions out of every fourth layer; the file takes that as known.
LAYERS_PER_LAYER_WITHOUT_ROPE = 4

# What the Llama 3.1 and 3.2 models were trained with; the file keeps only the factors that follow from it.
_LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def family_of(gguf: GGUFFile) -> Family:
    """Return the model's family. Raises `ModelLoadError` if it is not one of `FAMILIES`."""
    family = FAMILIES.get(gguf.architecture)
    if family is None or gguf.get("{arch}.expert_count", 0):
        what = "a mixture of experts" if family else f"of the architecture {gguf.architecture}"
        raise ModelLoadError(
            f"{gguf.path} is {what}, which is not supported; supported are dense models of {', '.join(FAMILIES)}."
        )
    return family


def head_dim(gguf: GGUFFile) -> int:
    """Return the width of one attention head."""
    heads = gguf.require("{arch}.attention.head_count")
    return int(gguf.get("{arch}.attention.key_length", gguf.require("{arch}.embedding_length") // heads))


def hf_config(gguf: GGUFFile) -> dict[str, Any]:
    """Return the content of `config.json`. Raises `ModelLoadError` for what that format cannot say."""
    family = family_of(gguf)
    heads = gguf.require("{arch}.attention.head_count")
    if gguf.get("{arch}.rope.dimension_count", head_dim(gguf)) != head_dim(gguf):
        raise ModelLoadError(f"{gguf.path} rotates only a part of each attention head, which is not supported.")
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": gguf.shape("token_embd.weight")[0],
        "hidden_size": gguf.require("{arch}.embedding_length"),
        "intermediate_size": gguf.require("{arch}.feed_forward_length"),
        "num_hidden_layers": gguf.require("{arch}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": gguf.get("{arch}.attention.head_count_kv", heads),
        "head_dim": head_dim(gguf),
        "hidden_act": "silu",
        "max_position_embeddings": gguf.require("{arch}.context_length"),
        "rms_norm_eps": _shortest(gguf.require("{arch}.attention.layer_norm_rms_epsilon")),
        "rope_theta": _shortest(gguf.get("{arch}.rope.freq_base", 10000.0)),
        "rope_scaling": _rope_scaling(gguf),
        "attention_bias": "blk.0.attn_q.bias" in gguf.tensor_names,
        "mlp_bias": "blk.0.ffn_up.bias" in gguf.tensor_names,
        "tie_word_embeddings": "output.weight" not in gguf.tensor_names,
        "dtype": "float16",
        **({"no_rope_layers": _uses_rope(gguf)} if family.model_type == "smollm3" else {}),
        **_token_ids(gguf),
    }


def hf_generation_config(gguf: GGUFFile) -> dict[str, Any]:
    """Return the content of `generation_config.json`: which tokens begin, pad and end a text."""
    ids = _token_ids(gguf)
    end_of_turn = gguf.get("tokenizer.ggml.eot_token_id")
    if end_of_turn not in (None, ids["eos_token_id"]):
        ids["eos_token_id"] = [ids["eos_token_id"], end_of_turn]
    return ids


def _token_ids(gguf: GGUFFile) -> dict[str, Any]:
    return {
        "bos_token_id": gguf.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": gguf.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": gguf.get("tokenizer.ggml.padding_token_id"),
    }


def _uses_rope(gguf: GGUFFile) -> list[int]:
    layers = range(gguf.require("{arch}.block_count"))
    return [int((layer + 1) % LAYERS_PER_LAYER_WITHOUT_ROPE != 0) for layer in layers]


def _shortest(value: float) -> float:
    """Return the shortest decimal that is the same f32, so that 9.999999747378752e-06 reads 1e-05 again."""
    return float(str(np.float32(value)))


def _rope_scaling(gguf: GGUFFile) -> dict[str, Any] | None:
    kind = gguf.get("{arch}.rope.scaling.type", "none")
    if "rope_freqs.weight" in gguf.tensor_names:
        return _llama3_rope_scaling(gguf)
    if kind == "linear":
        return {"rope_type": "linear", "factor": _shortest(gguf.require("{arch}.rope.scaling.factor"))}
    if kind == "none":
        return None
    raise ModelLoadError(f"{gguf.path} stretches its context by {kind}, which is not supported.")


def _llama3_rope_scaling(gguf: GGUFFile) -> dict[str, Any]:
    factors = gguf.tensor("rope_freqs.weight")
    scaling = {"rope_type": "llama3", "factor": _shortest(float(factors.max())), **_LLAMA3_ROPE}
    expected = llama3_factors(scaling, theta=gguf.get("{arch}.rope.freq_base", 10000.0), num_factors=len(factors))
    if not np.allclose(factors, expected, rtol=1e-3):
        raise ModelLoadError(f"{gguf.path} stretches its context in a way of its own, which is not supported.")
    return scaling


def llama3_factors(scaling: dict[str, Any], *, theta: float, num_factors: int) -> NDArray[np.float64]:
    """How much slower each pair of dimensions turns: not at all if fast, `factor` times if slow, smoothly between."""
    wavelengths = 2 * math.pi * theta ** (np.arange(num_factors) / num_factors)
    turns = scaling["original_max_position_embeddings"] / wavelengths
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    factors: NDArray[np.float64] = 1 / ((1 - smooth) / scaling["factor"] + smooth)
    return factors
