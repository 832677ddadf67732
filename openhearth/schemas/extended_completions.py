"""What another server may ask of a completion beyond the reference; names and meanings are vLLM's."""

from typing import Annotated

from pydantic import Field

from openhearth.schemas.completions import CreateCompletionRequest
from openhearth.schemas.shared import Flag, RequestModel


class StructuredOutputs(RequestModel):
    """What the completion has to follow: a grammar of llguidance."""

    grammar: Annotated[str, Field(min_length=1)]


class CreateExtendedCompletionRequest(CreateCompletionRequest):
    """A request to continue prompts, with more alternatives for each token, and tokens by their ids."""

    logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    ignore_eos: Flag = False
    return_tokens_as_token_ids: Flag = False
    structured_outputs: StructuredOutputs | None = None
