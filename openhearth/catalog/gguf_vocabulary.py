"""A Hugging Face tokenizer in llama.cpp's metadata: the way back of `gguf_tokenizer`."""

import json
from pathlib import Path
from typing import Any

from gguf import GGUFWriter
from tokenizers import Tokenizer
from tokenizers.models import BPE

from openhearth.catalog.gguf_tokenizer import PRE_TOKENIZERS, TokenType, build_pre_tokenizer
from openhearth.errors import ConfigurationError

_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def add_vocabulary(writer: GGUFWriter, directory: Path, *, vocab_size: int) -> None:
    """Add the tokenizer in a directory to a file whose embeddings have `vocab_size` rows.

    Raises `ConfigurationError` if llama.cpp has no name for the way it splits text.
    """
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    parts = _parts(tokenizer)
    tokens, types = _tokens(parts, tokenizer, vocab_size)
    if parts["model"].get("byte_fallback"):
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(_scores(parts["model"], tokens))
        writer.add_add_space_prefix(_has_space_prefix(parts))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_rule(parts))
        writer.add_token_merges([" ".join(merge) for merge in parts["model"]["merges"]])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _add_roles(writer, directory, tokenizer)


def _parts(tokenizer: Tokenizer) -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    return parts


def _tokens(parts: dict[str, Any], tokenizer: Tokenizer, vocab_size: int) -> tuple[list[str], list[TokenType]]:
    """Return every token and its type; rows of the embeddings that no token uses get a name of their own."""
    tokens = [tokenizer.id_to_token(token_id) for token_id in range(vocab_size)]
    types = [_type(token, parts["model"]) for token in tokens]
    for added in parts["added_tokens"]:
        if added["id"] < vocab_size and types[added["id"]] is not TokenType.UNKNOWN:
            types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    return [token if token is not None else f"[PAD{token_id}]" for token_id, token in enumerate(tokens)], types


def _type(token: str | None, model: dict[str, Any]) -> TokenType:
    if token is None:
        return TokenType.UNUSED
    if token == model.get("unk_token"):
        return TokenType.UNKNOWN
    is_byte = model.get("byte_fallback") and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return TokenType.BYTE if is_byte else TokenType.NORMAL


def _scores(model: dict[str, Any], tokens: list[str]) -> list[float]:
    """Return SentencePiece's scores, of which only the order counts: what is merged earlier scores higher."""
    first: dict[str, int] = {}
    for rank, (left, right) in enumerate(model["merges"]):
        first.setdefault(left + right, rank)
    return [-float(first.get(token, len(first))) for token in tokens]


def _has_space_prefix(parts: dict[str, Any]) -> bool:
    steps = [parts["normalizer"] or {}, *(parts["normalizer"] or {}).get("normalizers", [])]
    metaspace = (parts["pre_tokenizer"] or {}).get("prepend_scheme", "never") != "never"
    return metaspace or any(step.get("type") == "Prepend" for step in steps)


def _rule(parts: dict[str, Any]) -> str:
    for rule in PRE_TOKENIZERS:
        known = Tokenizer(BPE())
        known.pre_tokenizer = build_pre_tokenizer(rule)
        has_same_split = _without_offsets(_parts(known)["pre_tokenizer"]) == _without_offsets(parts["pre_tokenizer"])
        if has_same_split and parts["normalizer"] == ({"type": "NFC"} if rule == "qwen2" else None):
            return rule
    raise ConfigurationError(
        "The tokenizer splits text by a rule that llama.cpp has no name for, or none that is known here; "
        "export the model with --format merged."
    )


def _without_offsets(pre_tokenizer: Any) -> Any:
    """Leave out what says where a word was found, which has no say in what the words are."""
    if isinstance(pre_tokenizer, dict):
        return {key: _without_offsets(value) for key, value in pre_tokenizer.items() if key != "trim_offsets"}
    return [_without_offsets(step) for step in pre_tokenizer] if isinstance(pre_tokenizer, list) else pre_tokenizer


def _add_roles(writer: GGUFWriter, directory: Path, tokenizer: Tokenizer) -> None:
    """Add which tokens begin, end and pad a text, whether texts get them unasked, and the chat template."""
    settings = _read(directory / "tokenizer_config.json")
    ids = _role_ids(settings, _read(directory / "generation_config.json"), tokenizer)
    for role, token_id in ids.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", token_id)
    framed = tokenizer.encode("").ids
    writer.add_add_bos_token("bos" in ids and framed[:1] == [ids["bos"]])
    writer.add_add_eos_token("eos" in ids and framed[1 if framed[:1] == [ids.get("bos")] else 0 :] == [ids["eos"]])
    template = directory / "chat_template.jinja"
    text = template.read_text(encoding="utf-8") if template.is_file() else settings.get("chat_template")
    if isinstance(text, list):  # several, by name
        text = next((named["template"] for named in text if named["name"] == "default"), None)
    if text:
        writer.add_chat_template(text)


def _role_ids(settings: dict[str, Any], generation: dict[str, Any], tokenizer: Tokenizer) -> dict[str, int]:
    named = {ours: settings.get(f"{theirs}_token") for theirs, ours in _ROLES.items()}
    texts = {role: token["content"] if isinstance(token, dict) else token for role, token in named.items() if token}
    ids = {role: tokenizer.token_to_id(text) for role, text in texts.items()}
    ends = generation.get("eos_token_id")
    for token_id in ends if isinstance(ends, list) else [] if ends is None else [ends]:
        if token_id != ids.setdefault("eos", token_id):
            ids["eot"] = token_id
    return {role: token_id for role, token_id in ids.items() if token_id is not None}


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content
