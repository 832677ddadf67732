"""GGUF files that were written here, read again, with transformers and the original tokenizer as judges."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from gguf import GGUFReader
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from openhearth.catalog.gguf_convert import convert_gguf
from openhearth.catalog.gguf_export import export_gguf
from openhearth.catalog.gguf_tokenizer import build_pre_tokenizer
from openhearth.catalog.progress import SilentProgress
from openhearth.errors import ConfigurationError
from tests.tiny_models import build_tiny_model, byte_level_tokenizer
from tests.unit.catalog.builders import TEXTS
from tests.unit.catalog.test_gguf_convert import MODELS, random_model

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"


def save(model: Any, directory: Path, tokenizer: Tokenizer, **settings: Any) -> Path:
    """Write a model of transformers and a tokenizer, as they come from the hub."""
    model.save_pretrained(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    content = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": TEMPLATE} | settings
    (directory / "tokenizer_config.json").write_text(json.dumps(content))
    return directory


def read_again(directory: Path) -> Path:
    """Export a directory, and convert what was exported."""
    file, target = directory.parent / "model.gguf", directory.parent / "again"
    export_gguf(directory, directory, file, name="tiny")
    target.mkdir()
    convert_gguf(file, target, name="tiny", progress=SilentProgress())
    return target


@pytest.mark.parametrize(("family", "changes"), [(case[1], case[2]) for case in MODELS.values()], ids=MODELS)
def test_a_model_read_again_computes_the_same(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Weights that f16 holds come back as they were, in a model that gives the same logits."""
    original = random_model(family, changes)

    target = read_again(save(original, tmp_path / "model", byte_level_tokenizer()))

    again = transformers.AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).eval()
    tokens = torch.arange(200).reshape(2, 100)
    with torch.no_grad():
        torch.testing.assert_close(again(tokens).logits, original(tokens).logits, rtol=1e-5, atol=1e-5)
    assert type(again) is type(original)


def test_mistral(tmp_path: Path) -> None:
    """A Mistral model is a llama as far as its window reaches."""
    target = read_again(build_tiny_model(tmp_path / "model", "mistral"))

    assert json.loads((target / "config.json").read_text())["max_position_embeddings"] == 24


@pytest.mark.parametrize("rule", ["smollm", "gpt-2", "llama-bpe", "qwen2", "default"])
def test_byte_level_tokenizers(rule: str, tmp_path: Path) -> None:
    """A tokenizer that splits by a rule of llama.cpp's comes back, with its special tokens and its template."""
    tokenizer = byte_level_tokenizer()
    tokenizer.pre_tokenizer = build_pre_tokenizer(rule)
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(["<word>"])
    model = random_model("Llama", {"vocab_size": tokenizer.get_vocab_size() + 3})

    target = read_again(save(model, tmp_path / "model", tokenizer))

    again = Tokenizer.from_file(str(target / "tokenizer.json"))
    text = f"<|im_start|>a <word> b 12345<|im_end|>{''.join(TEXTS)}"
    assert again.encode(text).ids == tokenizer.encode(text).ids
    assert again.decode(again.encode(TEXTS[1]).ids) == TEXTS[1]
    settings = json.loads((target / "tokenizer_config.json").read_text())
    assert (settings["bos_token"], settings["eos_token"]) == ("<|im_start|>", "<|im_end|>")
    assert settings["chat_template"] == TEMPLATE


@pytest.mark.parametrize("has_prefix", [True, False])
def test_sentencepiece_tokenizers(has_prefix: bool, tmp_path: Path) -> None:
    """Pieces are merged in the same order again, and what is no piece is spelt in bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcd", "ab", "bc", "▁ab", "cd"]
    merges = [("b", "c"), ("a", "b"), ("▁", "ab"), ("c", "d")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    prefix = [normalizers.Prepend("▁")] if has_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<s>", "</s>"])
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    model = random_model("Llama", {"vocab_size": len(pieces)})

    target = read_again(save(model, tmp_path / "model", tokenizer, **settings))

    again = Tokenizer.from_file(str(target / "tokenizer.json"))
    for text in ("abcd ab", "ab  cab é</s>bcd", "dcba"):
        assert again.encode(text).ids == tokenizer.encode(text).ids


def test_tokens_around_a_text(tmp_path: Path) -> None:
    """A tokenizer that puts tokens around each text still does, and every token that ends an answer is kept."""
    tokenizer = byte_level_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["<|im_start|>", "$A", "<|im_end|>"], special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)]
    )
    directory = save(random_model("Llama", {}), tmp_path / "model", tokenizer)
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))

    target = read_again(directory)

    assert Tokenizer.from_file(str(target / "tokenizer.json")).encode("a").ids == tokenizer.encode("a").ids
    assert json.loads((target / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


def test_a_template_in_its_own_file(tmp_path: Path) -> None:
    """A chat template is found beside the tokenizer, or among several by its name."""
    directory = save(random_model("Llama", {}), tmp_path / "model", byte_level_tokenizer(), chat_template=None)
    (directory / "chat_template.jinja").write_text("in a file")
    export_gguf(directory, directory, tmp_path / "file.gguf", name="tiny")
    (directory / "chat_template.jinja").unlink()
    several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "among several"}]
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    export_gguf(directory, directory, tmp_path / "several.gguf", name="tiny")

    templates = [
        GGUFReader(tmp_path / file).fields["tokenizer.chat_template"].contents()
        for file in ("file.gguf", "several.gguf")
    ]

    assert templates == ["in a file", "among several"]


class TestRefusals:
    """What a GGUF file would say wrongly is not written."""

    def test_layers_without_positions(self, tmp_path: Path) -> None:
        """llama.cpp takes the layers without positions as known."""
        directory = build_tiny_model(tmp_path / "model", "smollm3")

        with pytest.raises(ConfigurationError, match="which layers go without positions"):
            export_gguf(directory, directory, tmp_path / "model.gguf", name="tiny")

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
            ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ],
    )
    def test_other_models(self, change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
        """An architecture or a stretching that is unknown is named."""
        directory = build_tiny_model(tmp_path / "model")
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | change))

        with pytest.raises(ConfigurationError, match=complaint):
            export_gguf(directory, directory, tmp_path / "model.gguf", name="tiny")

    def test_other_splits(self, tmp_path: Path) -> None:
        """A tokenizer whose rule has no name is refused."""
        tokenizer = byte_level_tokenizer()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        directory = save(random_model("Llama", {}), tmp_path / "model", tokenizer)

        with pytest.raises(ConfigurationError, match="no name for"):
            export_gguf(directory, directory, tmp_path / "model.gguf", name="tiny")
