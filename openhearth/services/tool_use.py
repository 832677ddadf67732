"""Which tools a chat may call, and whether it has to: the request's tools and choice, in either form, made one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from openhearth.chat_template import arguments_schema, describe_tool
from openhearth.errors import InvalidValueError, UnsupportedParameterError
from openhearth.schemas.chat_completions import CreateChatCompletionRequest
from openhearth.schemas.chat_tools import (
    ChatCompletionAllowedToolsChoice,
    ChatCompletionFunctions,
    ChatCompletionTool,
    CustomToolChatCompletions,
    FunctionObject,
    GrammarFormat,
    Tool,
    ToolReference,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallableTool:
    """A tool. `parameters` is the schema of its arguments; `path` is where it stands in the request."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    path: str
    is_strict: bool = False
    kind: Literal["function", "custom"] = "function"

    @property
    def schema_path(self) -> str:
        """Where the request says what the arguments have to be like."""
        return f"{self.path}.{'parameters' if self.kind == 'function' else 'format'}"

    def described(self) -> dict[str, Any]:
        """Return the tool as chat templates take it."""
        return describe_tool(self.name, self.description, self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """The tools that the model is shown, those of them it may call, and how.

    `is_legacy` asks for the one call in the older form, as `function_call`.
    """

    shown: Sequence[CallableTool] = ()
    callable: Sequence[CallableTool] = ()
    must_call: bool = False
    may_repeat: bool = True
    is_legacy: bool = False
    kinds: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", {tool.name: tool.kind for tool in self.callable})


def read_tool_use(request: CreateChatCompletionRequest) -> ToolUse:
    """Return what a request says of tools. Raises `BadRequestError` for a choice that its tools do not offer."""
    if request.functions is not None or request.function_call is not None:
        return _read_functions(request)
    tools = [_read_tool(tool, f"tools[{position}]") for position, tool in enumerate(request.tools)]
    _check_names(tools)
    match request.tool_choice:
        case "none":
            return ToolUse()
        case None | "auto" | "required" as mode:
            _check_has_tools(tools, mode)
            chosen, must_call, may_repeat = tools, mode == "required", request.parallel_tool_calls
        case ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            references = [choice.custom if choice.type == "custom" else choice.function for choice in allowed.tools]
            chosen = _find(tools, references, "tool_choice.allowed_tools.tools")
            must_call, may_repeat = allowed.mode == "required", request.parallel_tool_calls
        case named:
            reference = named.custom if named.type == "custom" else named.function
            chosen, must_call, may_repeat = _find(tools, [reference], "tool_choice"), True, False
    return ToolUse(shown=tools, callable=chosen, must_call=must_call, may_repeat=may_repeat)


def _read_functions(request: CreateChatCompletionRequest) -> ToolUse:
    if request.tools or request.tool_choice is not None:
        raise InvalidValueError(
            "'functions' and 'function_call' are the older form of 'tools' and 'tool_choice'; use one of the two.",
            param="functions",
        )
    functions = [
        _read_function(function, f"functions[{position}]") for position, function in enumerate(request.functions or ())
    ]
    _check_names(functions)
    if request.function_call == "none" or not functions:
        return ToolUse()
    must_call = isinstance(request.function_call, ToolReference)
    chosen = _find(functions, [request.function_call], "function_call") if must_call else functions  # type: ignore[list-item]
    return ToolUse(shown=functions, callable=chosen, must_call=must_call, may_repeat=False, is_legacy=True)


def _read_tool(tool: Tool, path: str) -> CallableTool:
    if isinstance(tool, ChatCompletionTool):
        return _read_function(tool.function, f"{path}.function", is_strict=tool.function.strict)
    custom = tool.custom
    return CallableTool(
        name=custom.name,
        description=custom.description,
        parameters={
            "type": "object",
            "properties": {"input": _input_schema(tool, path)},
            "required": ["input"],
            "additionalProperties": False,
        },
        path=f"{path}.custom",
        kind="custom",
    )


def _input_schema(tool: CustomToolChatCompletions, path: str) -> dict[str, Any]:
    if not isinstance(tool.custom.format, GrammarFormat):
        return {"type": "string"}
    grammar = tool.custom.format.grammar
    if grammar.syntax == "lark":
        raise UnsupportedParameterError(
            "Custom tools can have a grammar in the syntax 'regex' here, but not in 'lark'.",
            param=f"{path}.custom.format.grammar.syntax",
        )
    return {"type": "string", "pattern": f"^(?:{grammar.definition})$"}


def _read_function(
    function: FunctionObject | ChatCompletionFunctions, path: str, *, is_strict: bool = False
) -> CallableTool:
    return CallableTool(
        name=function.name,
        description=function.description,
        parameters=arguments_schema(function.parameters),
        path=path,
        is_strict=is_strict,
    )


def _check_names(tools: Iterable[CallableTool]) -> None:
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise InvalidValueError(f"There are several tools with the name '{tool.name}'.", param=f"{tool.path}.name")
        seen.add(tool.name)


def _check_has_tools(tools: Sequence[CallableTool], mode: str | None) -> None:
    if mode is not None and not tools:
        raise InvalidValueError("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")


def _find(tools: Sequence[CallableTool], references: Iterable[ToolReference], param: str) -> list[CallableTool]:
    by_name = {tool.name: tool for tool in tools}
    for reference in references:
        if reference.name not in by_name:
            raise InvalidValueError(f"The tool '{reference.name}' is not one of this request's tools.", param=param)
    return [by_name[reference.name] for reference in references]
