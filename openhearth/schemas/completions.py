"""The completions resource (contract: completions)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from openhearth.schemas.shared import (
    CompletionUsage,
    FinishReason,
    Flag,
    GenerationRequest,
    NullIsDefault,
    ResponseModel,
)
from openhearth.schemas.variants import chosen_by, variant

Tokens = Annotated[list[int], Field(min_length=1)]


def _form_of_prompt(value: Any) -> str | None:
    if isinstance(value, str):
        return "string"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    return "strings" if isinstance(first, str) else "token arrays" if isinstance(first, list) else "tokens"


Prompt = Annotated[
    Annotated[str, variant("string")]
    | Annotated[list[str], Field(min_length=1), variant("strings")]
    | Annotated[Tokens, variant("tokens")]
    | Annotated[list[Tokens], Field(min_length=1), variant("token arrays")],
    chosen_by(_form_of_prompt, expected="a string or an array"),
]


class CreateCompletionRequest(GenerationRequest):
    """A request to continue one or more prompts."""

    prompt: Prompt | None = None
    best_of: Annotated[int | None, Field(ge=0, le=20)] = None
    echo: Flag = False
    logprobs: Annotated[int | None, Field(ge=0, le=5)] = None
    max_tokens: Annotated[int, Field(ge=0), NullIsDefault()] = 16
    suffix: str | None = None


class Logprobs(ResponseModel):
    """One entry for each token of a choice's text, in four arrays of equal length."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(ResponseModel):
    """One continuation of one prompt, or what it gained since the event before."""

    text: str
    index: int
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class CreateCompletionResponse(ResponseModel):
    """A completion; the events of a stream have the same shape."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None
