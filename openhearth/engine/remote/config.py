"""What has to be known of a remote server to let it compute."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dialect = Literal["openai", "vllm", "llama.cpp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """A model on another server.

    `base_url` ends where `/completions` begins, and `model` is the model's name there. `tokenizer` is a directory with
    the model's `tokenizer.json` and, as far as there are any, its `tokenizer_config.json`, `generation_config.json` and
    `config.json`. `dialect` says what the server understands beyond the reference. `max_model_len` is in tokens; `None`
    takes what `config.json` says.
    """

    base_url: str
    model: str
    tokenizer: Path
    api_key: str | None = None
    dialect: Dialect = "openai"
    max_model_len: int | None = None
