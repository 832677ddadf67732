"""Converting whole GGUF files, with transformers as the judge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from openhearth.catalog import gguf_tensors
from openhearth.catalog.gguf_convert import convert_gguf
from openhearth.catalog.progress import SilentProgress
from tests.tiny_models import byte_level_tokenizer
from tests.unit.catalog.builders import (
    gpt2_tokenizer_fields,
    llama_fields,
    write_gguf,
)

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
MODELS = {
    "llama": ("llama", "Llama", {}, {}),
    "llama, tied": ("llama", "Llama", {"tie_word_embeddings": True}, {}),
    "llama 3": ("llama", "Llama", {"rope_parameters": LLAMA3_ROPE | {"rope_theta": 500000.0}}, {}),
    "llama, stretched": (
        "llama",
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
        {"rope__scaling__type": "linear", "rope__scaling__factor": 4.0},
    ),
    "llama, biased": ("llama", "Llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "qwen2": ("qwen2", "Qwen2", {}, {}),
    "qwen3": ("qwen3", "Qwen3", {"head_dim": 12}, {"attention__key_length": 12, "attention__value_length": 12}),
    "smollm3": ("smollm3", "SmolLM3", {"num_hidden_layers": 4}, {"block_count": 4}),
}
SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def random_model(family: str, changes: dict[str, Any]) -> Any:
    """Return a model of transformers with random weights that f16 holds exactly."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES | changes)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((parameter + torch.randn_like(parameter) / 8).half().float())
    return model


def export(model: Any, file: Path, architecture: str, fields: dict[str, Any]) -> Path:
    """Write a model of transformers as llama.cpp's converter does: names, row order and tensors of factors."""
    interleaves = architecture in ("llama", "smollm3")
    tensors = {}
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        values = parameter.numpy()
        if interleaves and "q_proj" in name:
            values = neighbours(values, model.config.num_attention_heads)
        if interleaves and "k_proj" in name:
            values = neighbours(values, model.config.num_key_value_heads)
        tensors[gguf_name(name)] = values
    rope = model.config.rope_parameters
    if rope["rope_type"] == "llama3":
        plain = rope["rope_theta"] ** (-np.arange(0, 8, 2) / 8)
        tensors["rope_freqs.weight"] = (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    metadata = llama_fields(architecture, **{"rope__freq_base": float(rope["rope_theta"])} | fields)
    return write_gguf(
        file, metadata | gpt2_tokenizer_fields(byte_level_tokenizer()), tensors, architecture=architecture
    )


def neighbours(values: np.ndarray[Any, Any], num_heads: int) -> np.ndarray[Any, Any]:
    """Put the rows that lie half a head apart next to each other."""
    heads = values.reshape(num_heads, 2, -1, *values.shape[1:])
    return np.ascontiguousarray(heads.swapaxes(1, 2).reshape(values.shape))


def gguf_name(name: str) -> str:
    """Return llama.cpp's name for a tensor."""
    stem, _, suffix = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{NAMES[part]}.{suffix}"
    return f"{NAMES[stem]}.{suffix}"


@pytest.mark.parametrize(("architecture", "family", "changes", "fields"), MODELS.values(), ids=MODELS)
def test_a_converted_model_computes_what_the_original_does(
    architecture: str, family: str, changes: dict[str, Any], fields: dict[str, Any], tmp_path: Path
) -> None:
    """The directory gives the same logits as the model that the GGUF file was made from."""
    original = random_model(family, changes)
    file = export(original, tmp_path / "model.gguf", architecture, fields)
    target = tmp_path / "converted"
    target.mkdir()

    convert_gguf(file, target, name="tiny", progress=SilentProgress())

    converted = transformers.AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
    tokens = torch.arange(200).reshape(2, 100)
    with torch.no_grad():
        torch.testing.assert_close(converted(tokens).logits, original(tokens).logits, rtol=1e-5, atol=1e-5)
    assert type(converted) is type(original)


def test_a_large_model_is_written_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights beyond one shard are spread over files that transformers finds by their index."""
    monkeypatch.setattr(gguf_tensors, "MAX_SHARD_BYTES", 20_000)
    original = random_model("Llama", {})
    file = export(original, tmp_path / "model.gguf", "llama", {})
    target = tmp_path / "converted"
    target.mkdir()

    convert_gguf(file, target, name="tiny", progress=SilentProgress())

    converted = transformers.AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    assert len(list(target.glob("model-*-of-*.safetensors"))) > 2
    for name, parameter in original.state_dict().items():
        assert torch.equal(converted.state_dict()[name], parameter), name
