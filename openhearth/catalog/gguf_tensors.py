"""The weights of a GGUF model under the names and in the row order of Hugging Face, as safetensors files.

Weights become f16: that is as much as the scales of a quantised file hold, and half the disk and reading time of f32.
A tensor that f16 cannot hold stays f32.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from openhearth.catalog.gguf_config import family_of
from openhearth.catalog.gguf_file import GGUFFile
from openhearth.catalog.progress import Report
from openhearth.errors import ModelLoadError

MAX_SHARD_BYTES = 2**30

_OUTER_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GGUF_NAMES = {theirs: ours for ours, theirs in (_OUTER_NAMES | _LAYER_NAMES).items()}
# Read by gguf_config: they are settings in the shape of tensors.
_NOT_WEIGHTS = ("rope_freqs.weight",)


def num_weight_bytes(gguf: GGUFFile) -> int:
    """Return the size of the weights once written."""
    return sum(_num_bytes(gguf, name) for name in _weight_names(gguf))


def write_weights(gguf: GGUFFile, target: Path, report: Report) -> None:
    """Write `model.safetensors`, or numbered shards of about `MAX_SHARD_BYTES` with their index, into `target`.

    One shard at a time is held in memory. Raises `ModelLoadError` for a tensor that has no place in the architecture.
    """
    shards = list(_shards(gguf))
    weight_map: dict[str, str] = {}
    done = 0
    for number, names in enumerate(shards, start=1):
        file_name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors: dict[str, NDArray[np.generic]] = {}
        for name in names:
            tensors[hf_name(gguf, name)] = hf_tensor(gguf, name)
            done += _num_bytes(gguf, name)
            report(done)
        save_file(tensors, target / file_name, metadata={"format": "pt"})
        (target / file_name).chmod(0o644)  # the models are shared by all homes, which may be of different users
        weight_map |= dict.fromkeys(tensors, file_name)
    if len(shards) > 1:
        index = {"metadata": {"total_size": num_weight_bytes(gguf)}, "weight_map": weight_map}
        (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def hf_name(gguf: GGUFFile, name: str) -> str:
    """Return the name of a tensor in a Hugging Face model: `blk.3.attn_q.weight` becomes `model.layers.3.…`."""
    stem, _, suffix = name.rpartition(".")
    block, _, part = stem.removeprefix("blk.").partition(".")
    if stem.startswith("blk.") and part in _LAYER_NAMES:
        return f"model.layers.{block}.{_LAYER_NAMES[part]}.{suffix}"
    if stem in _OUTER_NAMES:
        return f"{_OUTER_NAMES[stem]}.{suffix}"
    raise ModelLoadError(f"{gguf.path} has a tensor {name}, which {family_of(gguf).architecture} has no place for.")


def gguf_name(name: str) -> str:
    """Return llama.cpp's name of a tensor of Hugging Face's: the inverse of `hf_name`. Raises `KeyError`."""
    stem, _, suffix = name.rpartition(".")
    if not stem.startswith("model.layers."):
        return f"{_GGUF_NAMES[stem]}.{suffix}"
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{_GGUF_NAMES[part]}.{suffix}"


def hf_tensor(gguf: GGUFFile, name: str) -> NDArray[np.generic]:
    """Return a tensor as Hugging Face keeps it."""
    values = gguf.tensor(name)
    if family_of(gguf).has_interleaved_rope:
        heads = gguf.require("{arch}.attention.head_count")
        if ".attn_q." in name:
            values = _halves_apart(values, heads)
        if ".attn_k." in name:
            values = _halves_apart(values, gguf.get("{arch}.attention.head_count_kv", heads))
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.isfinite(half).all() else np.ascontiguousarray(values)


def _halves_apart(values: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Put the two rows that a rotation mixes half a head apart; in llama.cpp they are neighbours."""
    pairs = values.reshape(num_heads, -1, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def halves_together(values: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Put the two rows that a rotation mixes next to each other, as llama.cpp keeps them."""
    heads = values.reshape(num_heads, 2, -1, *values.shape[1:])
    return heads.swapaxes(1, 2).reshape(values.shape)


def _weight_names(gguf: GGUFFile) -> list[str]:
    return [name for name in gguf.tensor_names if name not in _NOT_WEIGHTS]


def _num_bytes(gguf: GGUFFile, name: str) -> int:
    return 2 * int(np.prod(gguf.shape(name)))


def _shards(gguf: GGUFFile) -> Iterator[list[str]]:
    shard: list[str] = []
    room = MAX_SHARD_BYTES
    for name in _weight_names(gguf):
        if shard and _num_bytes(gguf, name) > room:
            yield shard
            shard, room = [], MAX_SHARD_BYTES
        shard.append(name)
        room -= _num_bytes(gguf, name)
    yield shard
