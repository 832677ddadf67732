"""The bytes of tokens, for both families of tokenizers."""

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE

from openhearth.engine.text.vocabulary import Vocabulary, surface_form
from tests.tiny_models import VOCAB_SIZE, byte_level_tokenizer


def build_sentencepiece() -> Vocabulary:
    """Return a vocabulary like Llama 2's: word marks, and bytes for what has no token."""
    vocabulary = {"<s>": 0, "▁Hello": 1, "▁": 2, "wor": 3, "<0xE2>": 4, "<0x82>": 5, "<0xAC>": 6}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    return Vocabulary(tokenizer, size=8)


def test_byte_level() -> None:
    """Token by token, the bytes of a byte-level tokenizer make up the text, whatever its script."""
    tokenizer = byte_level_tokenizer()
    vocabulary = Vocabulary(tokenizer, size=VOCAB_SIZE)
    text = "Grüße, 世界 👋\n\tdef f():"

    assert b"".join(map(vocabulary.text_bytes, tokenizer.encode(text).ids)).decode() == text


def test_sentencepiece() -> None:
    """Word marks are spaces, byte tokens are bytes, and ids without a token add nothing."""
    vocabulary = build_sentencepiece()

    assert vocabulary.decode([1, 2, 3, 4, 5, 6, 7]) == " Hello wor€"


def test_special_tokens() -> None:
    """A special token shows by name in a prompt and adds nothing to generated text."""
    vocabulary = build_sentencepiece()

    assert vocabulary.decode([0, 1]) == "<s> Hello"
    assert vocabulary.text_bytes(0) == b""


def test_surface_form() -> None:
    """Bytes that are not UTF-8 alone are shown as such."""
    assert surface_form(b" caf\xc3\xa9") == " café"
    assert surface_form(b"\xe2\x82") == "bytes:\\xe2\\x82"
