"""What the objects of several resources share: how requests are read, the error object, usage, stream options."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUseDefault, core_schema

from openhearth.schemas.variants import chosen_by, variant


class RequestModel(BaseModel):
    """A body that a client sends: JSON types are taken at their word, and unknown members are refused by name."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class ResponseModel(BaseModel):
    """An object that the server sends. Members that were not set are left out."""

    model_config = ConfigDict(protected_namespaces=())


class NullIsDefault:
    """Marks a member for which `null` means its default, as the reference says of most optional members."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let `null` stand for the default before anything else looks at the value."""
        return core_schema.no_info_before_validator_function(_null_is_default, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say in the API's description that `null` is welcome."""
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _null_is_default(value: Any) -> Any:
    if value is None:
        raise PydanticUseDefault
    return value


def _with_token_ids(bias: dict[str, int]) -> dict[str, int]:
    if not all(key.isascii() and key.isdigit() and len(key) < _MAX_TOKEN_ID_LENGTH for key in bias):
        raise PydanticCustomError("invalid_value", "keys have to be token ids in decimal digits")
    return bias


def _form_of_stop(value: Any) -> str | None:
    return "string" if isinstance(value, str) else "strings" if isinstance(value, list) else None


_MAX_TOKEN_ID_LENGTH = 10
Penalty = Annotated[float, Field(ge=-2, le=2), NullIsDefault()]
Temperature = Annotated[float, Field(ge=0, le=2), NullIsDefault()]
TopP = Annotated[float, Field(ge=0, le=1), NullIsDefault()]
NumChoices = Annotated[int, Field(ge=1, le=128), NullIsDefault()]
Flag = Annotated[bool, NullIsDefault()]
Seed = Annotated[int | None, Field(ge=-(2**63), le=2**63 - 1)]
LogitBias = Annotated[
    dict[str, Annotated[int, Field(ge=-100, le=100)]], AfterValidator(_with_token_ids), NullIsDefault()
]
StopSequence = Annotated[str, Field(min_length=1)]
Stop = Annotated[
    Annotated[StopSequence, variant("string")]
    | Annotated[list[StopSequence], Field(min_length=1, max_length=4), variant("strings")],
    chosen_by(_form_of_stop, expected="a string or an array of strings"),
]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatCompletionStreamOptions(RequestModel):
    """How a stream reports usage. Obfuscation is accepted and never sent: clients treat it as optional."""

    include_usage: bool = False
    include_obfuscation: bool = True


class GenerationRequest(RequestModel):
    """What requests for completions of either kind share."""

    model: str
    frequency_penalty: Penalty = 0.0
    logit_bias: LogitBias = Field(default_factory=dict)
    n: NumChoices = 1
    presence_penalty: Penalty = 0.0
    seed: Seed = None
    stop: Stop | None = None
    stream: Flag = False
    stream_options: ChatCompletionStreamOptions | None = None
    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    user: str = ""


class PromptTokensDetails(ResponseModel):
    """What the prompt tokens were."""

    audio_tokens: int = 0
    cached_tokens: int = 0


class CompletionTokensDetails(ResponseModel):
    """What the generated tokens were."""

    accepted_prediction_tokens: int = 0
    audio_tokens: int = 0
    reasoning_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(ResponseModel):
    """The tokens of one request: each prompt once, every token that was generated for it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Error(ResponseModel):
    """What went wrong. All four members are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(ResponseModel):
    """The body of every failure."""

    error: Error
