"""What is asked of a remote server, in its own dialect. What a dialect has no words for is refused by name."""

from collections.abc import Sequence
from typing import Any

from openhearth.engine.base import SamplingParams
from openhearth.engine.remote.config import Dialect
from openhearth.errors import UnsupportedParameterError

_LLGUIDANCE = "%llguidance {}\n"
"""What marks a grammar as llguidance's for llama.cpp's server, which else reads GBNF."""


def continuation(prompt_token_ids: Sequence[int], params: SamplingParams, *, dialect: Dialect) -> dict[str, Any]:
    """Return the members of a streaming request; raises `UnsupportedParameterError` for what cannot be asked for.

    Log-probabilities are always asked for: they are how the tokens come back.
    """
    body: dict[str, Any] = {
        "prompt": list(prompt_token_ids),
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "n": params.n,
        "stop": list(params.stop),
        "seed": params.seed,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "logit_bias": {str(token_id): _whole(bias) for token_id, bias in params.logit_bias.items()},
        "logprobs": _num_alternatives(params.logprobs or 0, dialect),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    sent = {name: value for name, value in body.items() if value is not None and value not in ([], {})}
    return sent | _extensions(params, dialect)


def scoring(prompt_token_ids: Sequence[int], num_alternatives: int, *, dialect: Dialect) -> dict[str, Any]:
    """Return the members of a request that scores a prompt; raises `UnsupportedParameterError` where there is none."""
    if dialect == "llama.cpp":
        raise UnsupportedParameterError(
            "The server behind this model gives no log-probabilities of prompts, so 'echo' cannot go with 'logprobs'.",
            param="echo",
        )
    body = {"prompt": list(prompt_token_ids), "max_tokens": 0, "echo": True, "logprobs": num_alternatives}
    return body | _token_ids(dialect)


def _extensions(params: SamplingParams, dialect: Dialect) -> dict[str, Any]:
    if dialect == "openai" and params.grammar is not None:
        raise UnsupportedParameterError(
            "The server behind this model cannot be held to a format, so it takes neither 'response_format' nor "
            "'tools'.",
            param="response_format",
        )
    if dialect == "openai" and params.ignore_eos:
        raise UnsupportedParameterError("The server behind this model cannot ignore its end of text.")
    ignore_eos = {"ignore_eos": True} if params.ignore_eos else {}
    return ignore_eos | _token_ids(dialect) | _grammar(params.grammar, dialect)


def _token_ids(dialect: Dialect) -> dict[str, Any]:
    return {"return_tokens_as_token_ids": True} if dialect == "vllm" else {}


def _grammar(grammar: str | None, dialect: Dialect) -> dict[str, Any]:
    if grammar is None:
        return {}
    return {"structured_outputs": {"grammar": grammar}} if dialect == "vllm" else {"grammar": _LLGUIDANCE + grammar}


def _num_alternatives(wanted: int, dialect: Dialect) -> int:
    return max(1, wanted) if dialect == "llama.cpp" else wanted  # 0 turns them off there


def _whole(bias: float) -> float:
    return int(bias) if bias.is_integer() else bias  # the reference knows whole numbers only
