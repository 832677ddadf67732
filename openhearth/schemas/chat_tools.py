"""Tools that a chat may call, the choice among them, and the formats of an answer (contract: chat)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from openhearth.schemas.shared import Flag, RequestModel
from openhearth.schemas.variants import chosen_by, chosen_by_member, variant

ToolName = Annotated[str, Field(max_length=64, pattern="^[a-zA-Z0-9_-]+$")]
JSONSchema = dict[str, Any]


class FunctionObject(RequestModel):
    """A function; without `parameters` it takes no arguments."""

    name: ToolName
    description: str | None = None
    parameters: JSONSchema | None = None
    strict: Flag = False


class ChatCompletionTool(RequestModel):
    """A function that can be called."""

    type: Literal["function"]
    function: FunctionObject


class TextFormat(RequestModel):
    """Any text."""

    type: Literal["text"]


class Grammar(RequestModel):
    """A grammar, in one of two notations."""

    definition: str
    syntax: Literal["lark", "regex"]


class GrammarFormat(RequestModel):
    """Text that follows a grammar."""

    type: Literal["grammar"]
    grammar: Grammar


class CustomToolProperties(RequestModel):
    """A tool that takes text."""

    name: ToolName
    description: str | None = None
    format: (
        Annotated[
            Annotated[TextFormat, variant("text")] | Annotated[GrammarFormat, variant("grammar")],
            chosen_by_member("type"),
        ]
        | None
    ) = None


class CustomToolChatCompletions(RequestModel):
    """A custom tool that can be called."""

    type: Literal["custom"]
    custom: CustomToolProperties


Tool = Annotated[
    Annotated[ChatCompletionTool, variant("function")] | Annotated[CustomToolChatCompletions, variant("custom")],
    chosen_by_member("type"),
]


class ToolReference(RequestModel):
    """A tool by its name."""

    name: str


class ChatCompletionNamedToolChoice(RequestModel):
    """Call this function."""

    type: Literal["function"]
    function: ToolReference


class ChatCompletionNamedToolChoiceCustom(RequestModel):
    """Call this custom tool."""

    type: Literal["custom"]
    custom: ToolReference


AnyNamedToolChoice = Annotated[
    Annotated[ChatCompletionNamedToolChoice, variant("function")]
    | Annotated[ChatCompletionNamedToolChoiceCustom, variant("custom")],
    chosen_by_member("type"),
]


class ChatCompletionAllowedTools(RequestModel):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AnyNamedToolChoice], Field(min_length=1)]


class ChatCompletionAllowedToolsChoice(RequestModel):
    """Call some of the tools only."""

    type: Literal["allowed_tools"]
    allowed_tools: ChatCompletionAllowedTools


def _form_of_choice(value: Any) -> str | None:
    return "mode" if isinstance(value, str) else "object" if isinstance(value, dict) else None


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], variant("mode")]
    | Annotated[
        Annotated[ChatCompletionNamedToolChoice, variant("function")]
        | Annotated[ChatCompletionNamedToolChoiceCustom, variant("custom")]
        | Annotated[ChatCompletionAllowedToolsChoice, variant("allowed_tools")],
        chosen_by_member("type"),
        variant("object"),
    ],
    chosen_by(_form_of_choice, expected="a string or an object"),
]


class ChatCompletionFunctions(RequestModel):
    """A function, in the older form."""

    name: ToolName
    description: str | None = None
    parameters: JSONSchema | None = None


FunctionCallChoice = Annotated[
    Annotated[Literal["none", "auto"], variant("mode")] | Annotated[ToolReference, variant("object")],
    chosen_by(_form_of_choice, expected="a string or an object"),
]


class ResponseFormatText(RequestModel):
    """Any text."""

    type: Literal["text"]


class ResponseFormatJsonObject(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class JSONSchemaFormat(RequestModel):
    """A schema and its name; without `schema` any value will do."""

    name: ToolName
    description: str | None = None
    schema_: Annotated[JSONSchema | None, Field(alias="schema")] = None
    strict: Flag = False


class ResponseFormatJsonSchema(RequestModel):
    """A value of a JSON Schema."""

    type: Literal["json_schema"]
    json_schema: JSONSchemaFormat


ResponseFormat = Annotated[
    Annotated[ResponseFormatText, variant("text")]
    | Annotated[ResponseFormatJsonObject, variant("json_object")]
    | Annotated[ResponseFormatJsonSchema, variant("json_schema")],
    chosen_by_member("type"),
]
