"""The rows of a training file: which format they have, and whether each is as it should be (contract: fine-tuning, 9).

Needs no tensor library and no tokenizer, so that a file can be checked anywhere; turning rows into tokens is left to
`dataset.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from openhearth.errors import OpenHearthError
from openhearth.training.spec import TrainingMethod

RowFormat = Literal["fine-tune-chat", "fine-tune-completion", "fine-tune-preference"]

MIN_EXAMPLES = 10
_FORMATS: dict[TrainingMethod, tuple[RowFormat, ...]] = {
    "supervised": ("fine-tune-chat", "fine-tune-completion"),
    "dpo": ("fine-tune-preference",),
}


class RowError(OpenHearthError):
    """A training file is not usable; the message names the line."""


class ValidationRowError(RowError):
    """The same of a validation file."""


class TooFewRowsError(RowError):
    """A training file has less than `MIN_EXAMPLES` rows; carries how many."""

    def __init__(self, num_examples: int) -> None:
        super().__init__(f"{num_examples} example(s), but must have at least {MIN_EXAMPLES} examples")
        self.num_examples = num_examples


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Text(_Part):
    type: Literal["text"]
    text: str


class _Refusal(_Part):
    type: Literal["refusal"]
    refusal: str


class _Function(_Part):
    name: Annotated[str, Field(min_length=1)]
    arguments: str


class _ToolCall(_Part):
    id: str
    type: Literal["function"]
    function: _Function


class _FunctionDefinition(_Part):
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(_Part):
    type: Literal["function"]
    function: _FunctionDefinition


_Content = str | Annotated[list[_Text], Field(min_length=1)]
_Answer = str | Annotated[list[Annotated[_Text | _Refusal, Field(discriminator="type")]], Field(min_length=1)]


class _Prompting(_Part):
    role: Literal["system", "developer", "user"]
    content: _Content
    name: str | None = None


class _Assistant(_Part):
    role: Literal["assistant"]
    content: _Answer | None = None
    refusal: str | None = None
    audio: None = None
    name: str | None = None
    tool_calls: Annotated[list[_ToolCall], Field(min_length=1)] | None = None
    function_call: _Function | None = None
    weight: Literal[0, 1] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "_Assistant":
        if self.content is None and self.refusal is None and not self.tool_calls and self.function_call is None:
            raise ValueError("an assistant message needs content, a refusal or tool calls")
        return self


class _ToolResult(_Part):
    role: Literal["tool"]
    content: _Content
    tool_call_id: str


class _FunctionResult(_Part):
    role: Literal["function"]
    content: str | None
    name: str


_Message = Annotated[_Prompting | _Assistant | _ToolResult | _FunctionResult, Field(discriminator="role")]


class _Conversation(_Part):
    messages: Annotated[list[_Message], Field(min_length=1)]
    tools: list[_Tool] | None = None
    parallel_tool_calls: bool | None = None


class ChatRow(_Conversation):
    """A conversation whose assistant messages are trained, save those of weight 0."""

    functions: Annotated[list[_FunctionDefinition], Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _trains_something(self) -> "ChatRow":
        if not any(message.role == "assistant" for message in self.messages):
            raise ValueError("at least one message has to be from the assistant")
        return self


class CompletionRow(_Part):
    """A prompt and how it goes on."""

    prompt: str
    completion: str


class PreferenceRow(_Part):
    """A conversation and two answers to it, of which the first is the better."""

    input: _Conversation
    preferred_output: Annotated[list[_Assistant], Field(min_length=1, max_length=1)]
    non_preferred_output: Annotated[list[_Assistant], Field(min_length=1, max_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _accept_older_names(cls, row: dict[str, Any]) -> dict[str, Any]:
        names = {"preferred_completion": "preferred_output", "non_preferred_completion": "non_preferred_output"}
        return {names.get(key, key): value for key, value in row.items()}


Row = ChatRow | CompletionRow | PreferenceRow
_ROWS: dict[RowFormat, type[Row]] = {
    "fine-tune-chat": ChatRow,
    "fine-tune-completion": CompletionRow,
    "fine-tune-preference": PreferenceRow,
}


@dataclass(frozen=True, slots=True)
class RowsReport:
    """What a file holds: the format of all its rows, and how many there are."""

    format: RowFormat
    num_examples: int


def check_rows(lines: Iterable[bytes], method: TrainingMethod) -> RowsReport:
    """Check every row of a training file; `lines` are read once. Raises `RowError`, which names the first bad line."""
    formats = [detect_format(row) for row in read_rows(lines, method)]
    if len(formats) < MIN_EXAMPLES:
        raise TooFewRowsError(len(formats))
    return RowsReport(formats[0], len(formats))


def read_rows(lines: Iterable[bytes], method: TrainingMethod) -> Iterable[Row]:
    """Give the rows, each checked; all have one format. Raises `RowError`."""
    expected: RowFormat | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found, value = _parse(number, line)
        if found not in _FORMATS[method]:
            raise RowError(
                f"The file format ({found}) is not compatible with the method: {method}. It takes "
                f"{' or '.join(_FORMATS[method])}. (Line {number}.)"
            )
        if found != (expected or found):
            raise RowError(f"Line {number} has the format {found}, but the lines before it have {expected}.")
        expected = found
        try:
            yield _ROWS[found].model_validate(value)
        except ValidationError as error:
            raise RowError(f"Line {number}{_complaint(error)}") from None


def detect_format(row: Row) -> RowFormat:
    """Return the format that a row has."""
    return next(name for name, kind in _ROWS.items() if isinstance(row, kind))


def _parse(number: int, line: bytes) -> tuple[RowFormat, dict[str, Any]]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise RowError(f"Line {number} is not valid JSON: {error.msg} at column {error.colno}.") from None
    if isinstance(value, dict):
        if "messages" in value:
            return "fine-tune-chat", value
        if "prompt" in value and "completion" in value:
            return "fine-tune-completion", value
        if "input" in value:
            return "fine-tune-preference", value
    raise RowError(
        f"Line {number} has no known format: expected the key 'messages', the keys 'prompt' and 'completion', or the "
        "keys 'input', 'preferred_output' and 'non_preferred_output'."
    )


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    parts = [part for part in first["loc"] if isinstance(part, int) or part in _MEMBERS]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
    if first["type"] == "extra_forbidden":
        return f": unknown key '{f'{place}.' if place else ''}{first['loc'][-1]}'."
    message = first["msg"].removeprefix("Value error, ")
    return f", {place}: {message}." if place else f": {message}."


_MEMBERS = frozenset(
    name
    for kind in (
        *_ROWS.values(), _Conversation, _Prompting, _Assistant, _ToolResult, _FunctionResult, _ToolCall, _Function,
        _Tool, _FunctionDefinition, _Text, _Refusal,
    )
    for name in kind.model_fields
)  # fmt: skip
