"""The tokenizer of a GGUF model as `tokenizer.json` and `tokenizer_config.json`.

Covers the two kinds that the supported families use: byte-level BPE, which llama.cpp calls `gpt2`, and SentencePiece's
BPE with byte fallback, which it calls `llama`.
"""

from enum import IntEnum
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from openhearth.catalog.gguf_file import GGUFFile
from openhearth.errors import ModelLoadError


class TokenType(IntEnum):
    """What llama.cpp says of each token."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_CONTRACTIONS_AND_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_PUNCTUATION_AND_SPACE = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    "llama-bpe": (rf"{_CONTRACTIONS_AND_WORDS}|\p{{N}}{{1,3}}|{_PUNCTUATION_AND_SPACE}",),
    "qwen2": (rf"{_CONTRACTIONS_AND_WORDS}|\p{{N}}|{_PUNCTUATION_AND_SPACE}",),
    # What llama.cpp does with a file whose converter did not know the model's own rule.
    "default": (
        r"[\p{P}\$\+<=>\^~\|]+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
        r"\p{N}+",
        r"[0-9][0-9][0-9]",
    ),
}
PRE_TOKENIZERS = ("smollm", "gpt-2", *_SPLITS)
"""The rules of byte-level tokenizers that are understood, by llama.cpp's names."""

_MODELS = ("gpt2", "llama")


def build_tokenizer(gguf: GGUFFile) -> Tokenizer:
    """Return the model's tokenizer. Raises `ModelLoadError` for a kind that is not covered."""
    model = gguf.require("tokenizer.ggml.model")
    if model not in _MODELS:
        raise ModelLoadError(
            f"{gguf.path} has a tokenizer of the kind {model}, which is not supported; supported are "
            f"{' and '.join(_MODELS)}."
        )
    tokenizer = _byte_level(gguf) if model == "gpt2" else _sentencepiece(gguf)
    tokenizer.add_tokens(_added_tokens(gguf))
    _add_template(tokenizer, gguf)
    return tokenizer


def tokenizer_config(gguf: GGUFFile) -> dict[str, Any]:
    """Return the content of `tokenizer_config.json`, with the chat template if the file has one."""
    tokens = gguf.require("tokenizer.ggml.tokens")
    named = {
        f"{role}_token": tokens[token_id]
        for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if (token_id := gguf.get(f"tokenizer.ggml.{key}_token_id")) is not None
    }
    template = gguf.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": gguf.require("{arch}.context_length"),
        "clean_up_tokenization_spaces": False,
        **named,
        **({"chat_template": template} if template else {}),
    }


def _byte_level(gguf: GGUFFile) -> Tokenizer:
    rule = gguf.get("tokenizer.ggml.pre", "default")
    if rule not in PRE_TOKENIZERS:
        raise ModelLoadError(
            f"{gguf.path} splits text by the rule {rule}, which is not supported; supported are "
            f"{', '.join(PRE_TOKENIZERS)}."
        )
    vocab = {token: token_id for token_id, token in enumerate(gguf.require("tokenizer.ggml.tokens"))}
    merges = [_pair(merge) for merge in gguf.get("tokenizer.ggml.merges", [])]  # an empty list is not written
    # Llama 3 takes a word that is a token as it is, even where the merges would not lead there.
    tokenizer = Tokenizer(BPE(vocab, merges, ignore_merges=rule == "llama-bpe"))
    if rule == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = build_pre_tokenizer(rule)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def build_pre_tokenizer(rule: str) -> pre_tokenizers.PreTokenizer:
    """Return what splits text by one of `PRE_TOKENIZERS` before anything is merged."""
    if rule in _SPLITS:
        splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in _SPLITS[rule]]
        return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if rule == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    return byte_level


def _sentencepiece(gguf: GGUFFile) -> Tokenizer:
    tokens = gguf.require("tokenizer.ggml.tokens")
    unknown = gguf.get("tokenizer.ggml.unknown_token_id", 0)
    vocab = {token: token_id for token_id, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocab, _merges(gguf), unk_token=tokens[unknown], fuse_unk=True, byte_fallback=True))
    has_prefix = gguf.get("tokenizer.ggml.add_space_prefix", True)
    prefix = [normalizers.Prepend("▁")] if has_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", left=1)] if has_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _merges(gguf: GGUFFile) -> list[tuple[str, str]]:
    """SentencePiece scores pieces instead of listing merges: the pair with the best-scored union merges first."""
    tokens = gguf.require("tokenizer.ggml.tokens")
    types = gguf.require("tokenizer.ggml.token_type")
    scores = gguf.require("tokenizer.ggml.scores")
    normal = {token: score for token, kind, score in zip(tokens, types, scores, strict=True) if kind == 1}
    ranked = sorted(normal, key=lambda piece: -normal[piece])
    return [
        (piece[:cut], piece[cut:])
        for piece in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    ]


def _added_tokens(gguf: GGUFFile) -> list[AddedToken]:
    """Tokens that are found in the text as they stand, before anything else is done to it."""
    special = (TokenType.CONTROL, TokenType.UNKNOWN)
    return [
        AddedToken(token, special=kind in special, normalized=False)
        for token, kind in zip(
            gguf.require("tokenizer.ggml.tokens"), gguf.require("tokenizer.ggml.token_type"), strict=True
        )
        if kind in (*special, TokenType.USER_DEFINED)
    ]


def _add_template(tokenizer: Tokenizer, gguf: GGUFFile) -> None:
    """Have texts begin and end with the tokens that the model was trained to see there."""
    wants_bos_unasked = gguf.get("tokenizer.ggml.model") == "llama" or gguf.get("tokenizer.ggml.pre") == "llama-bpe"
    tokens = gguf.require("tokenizer.ggml.tokens")
    before = _template_token(gguf, "bos", default=wants_bos_unasked)
    after = _template_token(gguf, "eos", default=False)
    if before or after:
        single = [tokens[token_id] for token_id in before] + ["$A"] + [tokens[token_id] for token_id in after]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[(tokens[token_id], token_id) for token_id in {*before, *after}]
        )


def _template_token(gguf: GGUFFile, role: str, *, default: bool) -> list[int]:
    token_id = gguf.get(f"tokenizer.ggml.{role}_token_id")
    is_wanted = gguf.get(f"tokenizer.ggml.add_{role}_token", default)
    return [token_id] if is_wanted and token_id is not None else []
