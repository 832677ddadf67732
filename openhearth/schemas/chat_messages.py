"""The messages of a chat, as a client sends them (contract: chat)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from openhearth.schemas.shared import NullIsDefault, RequestModel
from openhearth.schemas.variants import chosen_by, chosen_by_member, variant


def _form_of_content(value: Any) -> str | None:
    return "string" if isinstance(value, str) else "parts" if isinstance(value, list) else None


_CONTENT_FORM = chosen_by(_form_of_content, expected="a string or an array of objects")


class PromptCacheBreakpointParam(RequestModel):
    """Where the hosted service may cut its cache; here every block of a prompt is cached by itself."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class _ContentPart(RequestModel):
    prompt_cache_breakpoint: PromptCacheBreakpointParam | None = None


class ChatCompletionRequestMessageContentPartText(_ContentPart):
    """Text."""

    type: Literal["text"]
    text: str


class ChatCompletionRequestMessageContentPartRefusal(_ContentPart):
    """What the assistant said when it refused."""

    type: Literal["refusal"]
    refusal: str


class ImageURL(RequestModel):
    """Where an image is."""

    url: str
    detail: Literal["auto", "low", "high", "original"] = "auto"


class ChatCompletionRequestMessageContentPartImage(_ContentPart):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageURL


class InputAudio(RequestModel):
    """Sound, in base64."""

    data: str
    format: Literal["wav", "mp3"]


class ChatCompletionRequestMessageContentPartAudio(_ContentPart):
    """Sound."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class InputFile(RequestModel):
    """A file, uploaded before or in base64."""

    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class ChatCompletionRequestMessageContentPartFile(_ContentPart):
    """A file."""

    type: Literal["file"]
    file: InputFile


_Text = Annotated[ChatCompletionRequestMessageContentPartText, variant("text")]
_Refusal = Annotated[ChatCompletionRequestMessageContentPartRefusal, variant("refusal")]
_Image = Annotated[ChatCompletionRequestMessageContentPartImage, variant("image_url")]
_Audio = Annotated[ChatCompletionRequestMessageContentPartAudio, variant("input_audio")]
_File = Annotated[ChatCompletionRequestMessageContentPartFile, variant("file")]
_String = Annotated[str, variant("string")]

TextContent = Annotated[
    _String | Annotated[list[ChatCompletionRequestMessageContentPartText], Field(min_length=1), variant("parts")],
    _CONTENT_FORM,
]
AssistantContent = Annotated[
    _String
    | Annotated[list[Annotated[_Text | _Refusal, chosen_by_member("type")]], Field(min_length=1), variant("parts")],
    _CONTENT_FORM,
]
UserContent = Annotated[
    _String
    | Annotated[
        list[Annotated[_Text | _Image | _Audio | _File, chosen_by_member("type")]],
        Field(min_length=1),
        variant("parts"),
    ],
    _CONTENT_FORM,
]


class ChatCompletionRequestDeveloperMessage(RequestModel):
    """What the developer wants."""

    role: Literal["developer"]
    content: TextContent
    name: str | None = None


class ChatCompletionRequestSystemMessage(RequestModel):
    """What the developer wants, by its older name."""

    role: Literal["system"]
    content: TextContent
    name: str | None = None


class ChatCompletionRequestUserMessage(RequestModel):
    """What the user says."""

    role: Literal["user"]
    content: UserContent
    name: str | None = None


class FunctionCall(RequestModel):
    """The call of a function; `arguments` is JSON."""

    name: str
    arguments: str


class CustomToolCall(RequestModel):
    """The call of a custom tool."""

    name: str
    input: str


class ChatCompletionMessageToolCall(RequestModel):
    """The call of a function that the assistant wants answered."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ChatCompletionMessageCustomToolCall(RequestModel):
    """The call of a custom tool that the assistant wants answered."""

    id: str
    type: Literal["custom"]
    custom: CustomToolCall


ToolCall = Annotated[
    Annotated[ChatCompletionMessageToolCall, variant("function")]
    | Annotated[ChatCompletionMessageCustomToolCall, variant("custom")],
    chosen_by_member("type"),
]


class PreviousAudio(RequestModel):
    """Which spoken answer is meant."""

    id: str


class ChatCompletionRequestAssistantMessage(RequestModel):
    """What the assistant said or wanted to have called.

    What a response's message has is taken back as it was, also its `annotations`, which only say where text came from.
    """

    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    name: str | None = None
    audio: PreviousAudio | None = None
    tool_calls: Annotated[list[ToolCall], NullIsDefault()] = Field(default_factory=list)
    function_call: FunctionCall | None = None
    annotations: list[dict[str, Any]] | None = None


class ChatCompletionRequestToolMessage(RequestModel):
    """What a tool answered."""

    role: Literal["tool"]
    content: TextContent
    tool_call_id: str


class ChatCompletionRequestFunctionMessage(RequestModel):
    """What a function answered, in the older form."""

    role: Literal["function"]
    name: str
    content: str | None


ChatCompletionRequestMessage = Annotated[
    Annotated[ChatCompletionRequestDeveloperMessage, variant("developer")]
    | Annotated[ChatCompletionRequestSystemMessage, variant("system")]
    | Annotated[ChatCompletionRequestUserMessage, variant("user")]
    | Annotated[ChatCompletionRequestAssistantMessage, variant("assistant")]
    | Annotated[ChatCompletionRequestToolMessage, variant("tool")]
    | Annotated[ChatCompletionRequestFunctionMessage, variant("function")],
    chosen_by_member("role"),
]
