"""Tokenizers out of GGUF metadata, with the libraries they were made with as judges."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from openhearth.catalog.gguf_file import GGUFFile
from openhearth.catalog.gguf_tokenizer import build_tokenizer, tokenizer_config
from openhearth.errors import ModelLoadError
from tests.tiny_models import SPECIAL_TOKENS, byte_level_tokenizer
from tests.unit.catalog.builders import (
    TEXTS,
    gpt2_tokenizer_fields,
    llama_fields,
    write_gguf,
)

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"


def open_gguf(directory: Path, fields: dict[str, Any]) -> GGUFFile:
    """Write metadata into a file and open it."""
    tensors = {"token_embd.weight": np.zeros((4, 32), np.float32)}
    return GGUFFile(write_gguf(directory / "model.gguf", llama_fields() | fields, tensors))


def byte_level(directory: Path, *, pre: str, **fields: Any) -> Tokenizer:
    """Return the tokenizer of a GGUF file with a byte-level vocabulary."""
    changes = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    return build_tokenizer(open_gguf(directory, gpt2_tokenizer_fields(byte_level_tokenizer(), pre=pre) | changes))


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return the pieces that `text` is split into before any merge, as text."""
    return [tokenizer.decoder.decode([piece]) for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Return a tokenizer that splits as SmolLM's do."""
    return byte_level(tmp_path_factory.mktemp("smollm"), pre="smollm")


@pytest.fixture(scope="module")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> tuple[sentencepiece.SentencePieceProcessor, Tokenizer]:
    """Return SentencePiece's own tokenizer and ours, made from what a GGUF file keeps of it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=360,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["<sep>"],
        minloglevel=2,
    )
    original = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    gguf = open_gguf(tmp_path_factory.mktemp("spiece"), sentencepiece_fields(original))
    return original, build_tokenizer(gguf)


def sentencepiece_fields(original: sentencepiece.SentencePieceProcessor) -> dict[str, Any]:
    """Return the metadata that llama.cpp keeps of a SentencePiece model."""
    ids = range(original.vocab_size())
    types = {original.unk_id(): 2, original.bos_id(): 3, original.eos_id(): 3, original.piece_to_id("<sep>"): 4}
    types |= {token_id: 6 for token_id in ids if original.is_byte(token_id)}
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [original.id_to_piece(token_id) for token_id in ids],
        "tokenizer.ggml.scores": [float(original.get_score(token_id)) for token_id in ids],
        "tokenizer.ggml.token_type": [types.get(token_id, 1) for token_id in ids],
        "tokenizer.ggml.bos_token_id": original.bos_id(),
        "tokenizer.ggml.eos_token_id": original.eos_id(),
        "tokenizer.ggml.unknown_token_id": original.unk_id(),
    }


class TestByteLevel:
    """The kind that llama.cpp calls gpt2."""

    @given(st.text())
    def test_every_text_comes_back(self, smollm: Tokenizer, text: str) -> None:
        """Encoding and decoding gives the same text, whatever is in it."""
        assert smollm.decode(smollm.encode(text).ids, skip_special_tokens=False) == text

    @pytest.mark.parametrize(
        ("pre", "pieces"),
        [
            ("gpt-2", ["I", "'ll", " pay", " 12345½", "   ", " now"]),
            ("default", ["I", "'", "ll", " pay", " ", "123", "45½", "   ", " now"]),
            ("smollm", ["I", "'ll", " pay", " ", "1", "2", "3", "4", "5", "½", "   ", " now"]),
            ("llama-bpe", ["I", "'ll", " pay", " ", "123", "45½", "   ", " now"]),
            ("qwen2", ["I", "'ll", " pay", " ", "1", "2", "3", "4", "5", "½", "   ", " now"]),
        ],
    )
    def test_text_is_split_by_the_model_s_rule(self, pre: str, pieces: list[str], tmp_path: Path) -> None:
        """Each named rule cuts words, numbers and spaces in its own way."""
        tokenizer = byte_level(tmp_path, pre=pre)

        assert words(tokenizer, "I'll pay 12345½    now") == pieces

    def test_control_tokens_are_found_in_the_text(self, smollm: Tokenizer) -> None:
        """A control token in a prompt is one token, and is left out when special tokens are not wanted."""
        ids = smollm.encode("<|im_start|>user<|im_end|>").ids

        assert (ids[0], ids[-1]) == (1, 2)
        assert smollm.decode(ids, skip_special_tokens=True) == "user"

    def test_tokens_of_the_user_are_found_but_shown(self, tmp_path: Path) -> None:
        """A user-defined token is one token, and part of the text."""
        fields = gpt2_tokenizer_fields(byte_level_tokenizer())
        fields["tokenizer.ggml.tokens"].append("<tool_call>")
        fields["tokenizer.ggml.token_type"].append(4)
        tokenizer = build_tokenizer(open_gguf(tmp_path, fields))

        ids = tokenizer.encode("<tool_call>").ids

        assert ids == [len(fields["tokenizer.ggml.tokens"]) - 1]
        assert tokenizer.decode(ids, skip_special_tokens=True) == "<tool_call>"

    def test_llama_3_texts_begin_with_a_token(self, tmp_path: Path) -> None:
        """Models that split as Llama 3 does want the beginning of text marked, unless the file says otherwise."""
        marked = byte_level(tmp_path, pre="llama-bpe")
        unmarked = byte_level(tmp_path, pre="llama-bpe", add_bos_token=False)

        assert marked.encode("fox").ids == [1, *unmarked.encode("fox").ids]

    def test_an_end_token_is_added_where_the_file_wants_it(self, tmp_path: Path) -> None:
        """A file may ask for a token at the end as well."""
        tokenizer = byte_level(tmp_path, pre="smollm", add_bos_token=True, add_eos_token=True)

        ids = tokenizer.encode("fox").ids

        assert (ids[0], ids[-1]) == (1, 2)

    def test_qwen_composes_characters(self, tmp_path: Path) -> None:
        """Qwen's texts are normalised, so that both ways to write é are the same tokens."""
        tokenizer = byte_level(tmp_path, pre="qwen2")

        assert tokenizer.encode("Cafe\u0301").ids == tokenizer.encode("Caf\u00e9").ids

    def test_an_unknown_rule_is_refused_with_the_known_ones(self, tmp_path: Path) -> None:
        """A rule that is not known would cut texts wrongly without anybody noticing."""
        with pytest.raises(ModelLoadError, match=r"the rule tekken, .* supported are smollm, gpt-2"):
            byte_level(tmp_path, pre="tekken")


class TestSentencePiece:
    """The kind that llama.cpp calls llama."""

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00▁"), min_size=1))
    def test_texts_become_the_tokens_of_sentencepiece(
        self, spiece: tuple[sentencepiece.SentencePieceProcessor, Tokenizer], text: str
    ) -> None:
        """Any text gives the tokens that SentencePiece gives, bytes for unknown characters included."""
        original, tokenizer = spiece

        assert tokenizer.encode(text, add_special_tokens=False).ids == original.encode(text)

    @given(st.lists(st.sampled_from([*" ".join(TEXTS).split(), "日本", "\n", "  "])))
    def test_tokens_become_the_text_again(
        self, spiece: tuple[sentencepiece.SentencePieceProcessor, Tokenizer], parts: list[str]
    ) -> None:
        """Decoding gives back the text, without the space that was put before it."""
        _, tokenizer = spiece
        text = "".join(parts)

        assert tokenizer.decode(tokenizer.encode(text).ids) == text

    def test_texts_begin_with_a_token(self, spiece: tuple[sentencepiece.SentencePieceProcessor, Tokenizer]) -> None:
        """The beginning of text is marked, as the models of this kind expect."""
        original, tokenizer = spiece

        assert tokenizer.encode("fox").ids == [original.bos_id(), *original.encode("fox")]

    def test_the_space_before_a_text_is_a_setting(self, tmp_path: Path, spiece: Any) -> None:
        """A file may say that no space is put before a text."""
        fields = sentencepiece_fields(spiece[0]) | {"tokenizer.ggml.add_space_prefix": False}
        tokenizer = build_tokenizer(open_gguf(tmp_path, fields))

        tokens = tokenizer.encode("fox", add_special_tokens=False).tokens

        assert "".join(tokens) == "fox"


class TestConfig:
    """What goes beside the tokenizer."""

    def test_transformers_reads_the_tokenizer(self, tmp_path: Path) -> None:
        """The directory is a tokenizer to transformers: named tokens, chat template, and the same ids."""
        fields = gpt2_tokenizer_fields(byte_level_tokenizer()) | {"tokenizer.chat_template": TEMPLATE}
        gguf = open_gguf(tmp_path, fields)
        tokenizer = build_tokenizer(gguf)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(gguf)), encoding="utf-8")

        loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)

        chat = loaded.apply_chat_template([{"role": "user", "content": "Hi 12"}], tokenize=False)
        assert chat == "<|im_start|>user\nHi 12<|im_end|>\n"
        assert loaded.encode(chat) == tokenizer.encode(chat).ids
        assert [loaded.unk_token, loaded.bos_token, loaded.eos_token] == SPECIAL_TOKENS

    def test_an_unknown_kind_is_refused_with_the_known_ones(self, tmp_path: Path) -> None:
        """WordPiece and the like are refused by name."""
        with pytest.raises(ModelLoadError, match=r"the kind bert, .* supported are gpt2 and llama"):
            build_tokenizer(open_gguf(tmp_path, {"tokenizer.ggml.model": "bert"}))
