"""A model small enough to be trained in a test: a Llama of two layers with random weights, and bytes for tokens."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}[{{ call.function.name }} {{ call.function.arguments | tojson }}]"
    "{% endfor %}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
_HIDDEN, _INTERMEDIATE, _LAYERS, _HEADS, _KV_HEADS = 32, 64, 2, 4, 2


def make_tiny_model(directory: Path, *, context_length: int = 512, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Write a model in Hugging Face layout; the same one each time."""
    directory.mkdir(parents=True)
    vocab_size = _write_tokenizer(directory, chat_template)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": _HIDDEN,
        "intermediate_size": _INTERMEDIATE,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "head_dim": _HIDDEN // _HEADS,
        "max_position_embeddings": context_length,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "dtype": "float32",
        "eos_token_id": 256,
        "bos_token_id": 256,
    }
    (directory / "config.json").write_text(json.dumps(config))
    _write_weights(directory, vocab_size)
    return directory


def _write_tokenizer(directory: Path, chat_template: str | None) -> int:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate((*alphabet, *_SPECIAL))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.save(str(directory / "tokenizer.json"))
    settings: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "pad_token": "<|end|>",
    }
    if chat_template is not None:
        settings["chat_template"] = chat_template
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(vocabulary)


def _write_weights(directory: Path, vocab_size: int) -> None:
    random = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (vocab_size, _HIDDEN)}
    kv = _KV_HEADS * _HIDDEN // _HEADS
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.self_attn.q_proj.weight": (_HIDDEN, _HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": (kv, _HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": (kv, _HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": (_HIDDEN, _HIDDEN),
            f"{prefix}.mlp.gate_proj.weight": (_INTERMEDIATE, _HIDDEN),
            f"{prefix}.mlp.up_proj.weight": (_INTERMEDIATE, _HIDDEN),
            f"{prefix}.mlp.down_proj.weight": (_HIDDEN, _INTERMEDIATE),
        }
    tensors = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("model.norm", *(f"model.layers.{i}.{n}" for i in range(_LAYERS) for n in _NORMS)):
        tensors[f"{name}.weight"] = np.ones(_HIDDEN, np.float32)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


_NORMS = ("input_layernorm", "post_attention_layernorm")
