"""The chat completions resource (contract: chat)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from openhearth.schemas.chat_messages import ChatCompletionRequestMessage, ChatCompletionRequestMessageContentPartText
from openhearth.schemas.chat_tools import (
    ChatCompletionFunctions,
    FunctionCallChoice,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from openhearth.schemas.shared import (
    CompletionUsage,
    FinishReason,
    Flag,
    GenerationRequest,
    NullIsDefault,
    RequestModel,
    ResponseModel,
)
from openhearth.schemas.variants import chosen_by, variant

ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast"]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


def _form_of_content(value: Any) -> str | None:
    return "string" if isinstance(value, str) else "parts" if isinstance(value, list) else None


class PredictionContent(RequestModel):
    """What the answer will probably be like."""

    type: Literal["content"]
    content: Annotated[
        Annotated[str, variant("string")]
        | Annotated[list[ChatCompletionRequestMessageContentPartText], Field(min_length=1), variant("parts")],
        chosen_by(_form_of_content, expected="a string or an array of objects"),
    ]


class PromptCacheOptionsParam(RequestModel):
    """How the hosted service may cache prompts."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class CreateChatCompletionRequest(GenerationRequest):
    """A request for the next message of a chat.

    `audio`, `moderation` and `web_search_options` are taken apart by whoever can honour them; nobody can here.
    """

    messages: Annotated[list[ChatCompletionRequestMessage], Field(min_length=1)]
    audio: dict[str, Any] | None = None
    function_call: FunctionCallChoice | None = None
    functions: Annotated[list[ChatCompletionFunctions], Field(min_length=1, max_length=128)] | None = None
    logprobs: Flag = False
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    metadata: Metadata | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: dict[str, Any] | None = None
    parallel_tool_calls: Flag = True
    prediction: PredictionContent | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptionsParam | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    response_format: ResponseFormat | None = None
    safety_identifier: Annotated[str | None, Field(max_length=128)] = None
    service_tier: ServiceTier | None = None
    store: Flag = False
    tool_choice: ToolChoice | None = None
    tools: Annotated[list[Tool], Field(max_length=128), NullIsDefault()] = Field(default_factory=list)
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None


class TopLogprob(ResponseModel):
    """A token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatCompletionTokenLogprob(ResponseModel):
    """A token of the content, and what could have stood there instead."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(ResponseModel):
    """The tokens of a message's content."""

    content: list[ChatCompletionTokenLogprob] | None
    refusal: list[ChatCompletionTokenLogprob] | None


class CalledFunction(ResponseModel):
    """A function and its arguments, as JSON."""

    name: str
    arguments: str


class CalledCustomTool(ResponseModel):
    """A custom tool and its input."""

    name: str
    input: str


class ResponseToolCall(ResponseModel):
    """A call that the assistant wants answered: `function` or `custom`, as `type` says."""

    id: str
    type: Literal["function", "custom"]
    function: CalledFunction | None = None
    custom: CalledCustomTool | None = None


class ChatCompletionResponseMessage(ResponseModel):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ResponseToolCall] | None = None
    function_call: CalledFunction | None = None


class ChatCompletionChoice(ResponseModel):
    """One possible message."""

    index: int
    message: ChatCompletionResponseMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class CreateChatCompletionResponse(ResponseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatCompletionChoice]
    usage: CompletionUsage
    service_tier: Literal["default"] | None = None


class FunctionDelta(ResponseModel):
    """What a call gains: its name once, its arguments piece by piece."""

    name: str | None = None
    arguments: str | None = None


class CustomToolDelta(ResponseModel):
    """What the call of a custom tool gains."""

    name: str | None = None
    input: str | None = None


class ChatCompletionMessageToolCallChunk(ResponseModel):
    """What the call number `index` of a message gains."""

    index: int
    id: str | None = None
    type: Literal["function", "custom"] | None = None
    function: FunctionDelta | None = None
    custom: CustomToolDelta | None = None


class ChatCompletionStreamResponseDelta(ResponseModel):
    """What a message gains."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ChatCompletionMessageToolCallChunk] | None = None
    function_call: FunctionDelta | None = None


class ChatCompletionStreamChoice(ResponseModel):
    """What a choice gains."""

    index: int
    delta: ChatCompletionStreamResponseDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason | None


class CreateChatCompletionStreamResponse(ResponseModel):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatCompletionStreamChoice]
    usage: CompletionUsage | None = None
    service_tier: Literal["default"] | None = None
