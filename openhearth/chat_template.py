"""A model's chat template: messages in, prompt text out. Knows Jinja as Hugging Face's templates use it.

Templates come with the model, so they run in a sandbox. A template that knows nothing of tools is helped out: the
tools are explained to the model in the system message, and what it does with them is written into ordinary messages.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openhearth.errors import BadRequestError, ModelLoadError

Message = Mapping[str, Any]
Tools = Sequence[Mapping[str, Any]]

_DEFAULT, _WITH_TOOLS = "default", "tool_use"
_TOOL_VARIABLES = frozenset({"tools", "xml_tools"})
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
_EXPLANATION = """\
You can call these functions, each described by a JSON object:
<tools>
{tools}
</tools>
To call one, write its name and its arguments as a JSON object:
<tool_call>
{{"name": NAME, "arguments": ARGUMENTS}}
</tool_call>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFormat:
    """How a model writes the call of a tool: `begin`, a JSON object with `name` and `arguments_key`, `end`.

    With an empty `begin` a call is the whole of a message, and there can be only one. `are_tokens` says that `begin`
    and `end` are tokens of their own in the vocabulary, which a grammar has to call by name.
    """

    begin: str = "<tool_call>"
    end: str = "</tool_call>"
    arguments_key: str = "arguments"
    are_tokens: bool = False


_LLAMA_FORMAT = ToolCallFormat(begin="", end="", arguments_key="parameters")


class ChatTemplate:
    """Renders messages for one model. `sources` are templates by name; "tool_use" is for requests with tools."""

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        special_tokens: Mapping[str, str],
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Compile the templates, which may ask for the time `now`; raises `ModelLoadError` if that cannot be done."""
        environment = _environment(now)
        try:
            self._templates = {name: environment.from_string(source) for name, source in sources.items()}
            self._source = sources.get(_WITH_TOOLS, sources[_DEFAULT])
            self._variables = find_undeclared_variables(environment.parse(self._source))
        except TemplateSyntaxError as error:
            raise ModelLoadError(f"The model's chat template cannot be read: {error}.") from error
        self._special_tokens = special_tokens

    @classmethod
    def from_directory(cls, model: Path) -> "ChatTemplate | None":
        """Return the template of a model in Hugging Face layout, or `None` if it has none."""
        config_file, template_file = model / "tokenizer_config.json", model / "chat_template.jinja"
        config: dict[str, Any] = json.loads(config_file.read_bytes()) if config_file.is_file() else {}
        found = template_file.read_text("utf-8") if template_file.is_file() else config.get("chat_template")
        if not found:
            return None
        sources = {_DEFAULT: found} if isinstance(found, str) else {entry["name"]: entry["template"] for entry in found}
        return cls(sources, special_tokens=_special_tokens(config))

    @property
    def tool_call_format(self) -> ToolCallFormat:
        """How the model was taught to call tools, or how it is told to."""
        return _LLAMA_FORMAT if self._knows_tools and "<tool_call>" not in self._source else ToolCallFormat()

    def render(self, messages: Sequence[Message], *, tools: Tools = (), add_generation_prompt: bool = True) -> str:
        """Return the messages as text, which asks for the next one unless told otherwise.

        Raises `BadRequestError` if the template refuses.
        """
        if not self._knows_tools:
            messages, tools = _without_tools(messages, tools), ()
        template = self._templates[_WITH_TOOLS if tools and _WITH_TOOLS in self._templates else _DEFAULT]
        try:
            return template.render(
                messages=messages,
                **dict.fromkeys(_TOOL_VARIABLES, list(tools) or None),
                add_generation_prompt=add_generation_prompt,
                enable_thinking=False,
                **self._special_tokens,
            )
        except Exception as error:  # the template is a program that came with the model: it may raise anything
            raise BadRequestError(
                f"The model's chat template refuses these messages: {error}", param="messages", code="invalid_value"
            ) from error

    @property
    def _knows_tools(self) -> bool:
        """Whether the template can show tools, in one of the formats that can be read back."""
        is_readable = "<tool_call>" in self._source or '"parameters": ' in self._source
        return bool(self._variables & _TOOL_VARIABLES) and is_readable


def describe_tool(name: str, description: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool as chat templates take it."""
    described = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": {key: value for key, value in described.items() if value is not None}}


def arguments_schema(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the schema of a tool's arguments; a tool that has none takes an empty object."""
    return _NO_ARGUMENTS if parameters is None else {"type": "object", **parameters}


class _GenerationBlock(Extension):
    """Lets `{% generation %}…{% endgeneration %}`, which marks what was learnt from, stand for its content."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own type)

    def parse(self, parser: Parser) -> list[Node]:
        """Return the nodes inside the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(now: Callable[[], datetime]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: now().strftime(form)
    return environment


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter would escape what is special in HTML.
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    tokens = {name: value for name, value in config.items() if name.endswith("_token") and value is not None}
    return {name: value["content"] if isinstance(value, dict) else str(value) for name, value in tokens.items()}


def _without_tools(messages: Sequence[Message], tools: Tools) -> list[Message]:
    """Say with plain messages what these say with tools."""
    plain: list[dict[str, Any]] = []
    for message in messages:
        is_answer = message["role"] == "tool"
        content = _tool_response(message) if is_answer else _with_tool_calls(message)
        if is_answer and plain and plain[-1].get("is_answer"):
            plain[-1]["content"] += f"\n{content}"
        else:
            role = "user" if is_answer else message["role"]
            plain.append({**message, "role": role, "content": content, "is_answer": is_answer})
    if tools:
        explanation = _EXPLANATION.format(tools="\n".join(_to_json(tool["function"]) for tool in tools))
        _explain(plain, explanation)
    return [{key: value for key, value in message.items() if key not in _TOOL_MEMBERS} for message in plain]


_TOOL_MEMBERS = ("is_answer", "tool_calls", "tool_call_id")


def _tool_response(message: Message) -> str:
    return f"<tool_response>\n{message['content']}\n</tool_response>"


def _with_tool_calls(message: Message) -> str:
    calls = [_to_json(call["function"]) for call in message.get("tool_calls", ())]
    return "\n".join((*filter(None, [message["content"]]), *(f"<tool_call>\n{call}\n</tool_call>" for call in calls)))


def _explain(messages: list[dict[str, Any]], explanation: str) -> None:
    if messages[0]["role"] == "system":
        messages[0]["content"] = f"{messages[0]['content']}\n\n{explanation}"
    else:
        messages.insert(0, {"role": "system", "content": explanation})
