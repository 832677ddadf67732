"""The rows of a training file: which format they have, and whether each is as it should be (contract: fine-tuning, 9).

Needs no tensor library and no tokenizer, so that a file can be checked anywhere; turning rows into tokens is left to
`dataset.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from openhearth.errors import OpenHearthError
from openhearth.training.spec import TrainingMethod

RowFormat = Literal["fine-tune-chat", "fine-tune-completion", "fine-tune-preference"]

MIN_EXAMPLES = 10
MAX_IMAGES = 10
_MAX_QUOTED = 200
_FORMATS: dict[TrainingMethod, tuple[RowFormat, ...]] = {
    "supervised": ("fine-tune-chat", "fine-tune-completion"),
    "dpo": ("fine-tune-preference",),
}


class RowError(OpenHearthError):
    """A training file is not usable; the message names the line."""


class ValidationRowError(RowError):
    """The same of a validation file."""


class TooFewRowsError(RowError):
    """A training file has less than `MIN_EXAMPLES` rows to train on; carries how many."""

    def __init__(self, num_examples: int, *, num_skipped: int = 0) -> None:
        skipped = f", not counting {num_skipped} with images, which the model cannot see" if num_skipped else ""
        super().__init__(f"{num_examples} example(s), but must have at least {MIN_EXAMPLES} examples{skipped}")
        self.num_examples = num_examples


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Text(_Part):
    type: Literal["text"]
    text: str


class _Refusal(_Part):
    type: Literal["refusal"]
    refusal: str


class _ImageURL(_Part):
    url: Annotated[str, Field(min_length=1)]
    detail: Literal["low", "high", "auto"] | None = None


class _Image(_Part):
    type: Literal["image_url"]
    image_url: _ImageURL


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


def _form_of_content(content: Any) -> str:
    return "parts" if isinstance(content, list) else "string"


_String = Annotated[str, Tag("string")]
_FORM = Discriminator(_form_of_content)
_Content = Annotated[_String | Annotated[list[_Text], Field(min_length=1), Tag("parts")], _FORM]
_Shown = Annotated[_Text | _Image, Field(discriminator="type")]
_Question = Annotated[_String | Annotated[list[_Shown], Field(min_length=1), Tag("parts")], _FORM]
_Said = Annotated[_Text | _Refusal, Field(discriminator="type")]
_Answer = Annotated[_String | Annotated[list[_Said], Field(min_length=1), Tag("parts")], _FORM]


class _Instruction(_Part):
    role: Literal["system", "developer"]
    content: _Content
    name: str | None = None


class _User(_Part):
    role: Literal["user"]
    content: _Question
    name: str | None = None

    @property
    def num_images(self) -> int:
        return 0 if isinstance(self.content, str) else sum(part.type == "image_url" for part in self.content)


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


_Message = Annotated[_Instruction | _User | _Assistant | _ToolResult | _FunctionResult, Field(discriminator="role")]


class _Conversation(_Part):
    messages: Annotated[list[_Message], Field(min_length=1)]
    tools: list[_Tool] | None = None
    parallel_tool_calls: bool | None = None

    @property
    def num_images(self) -> int:
        """How many pictures the user shows."""
        return sum(message.num_images for message in self.messages if isinstance(message, _User))


class ChatRow(_Conversation):
    """A conversation whose assistant messages are trained, save those of weight 0."""

    functions: Annotated[list[_FunctionDefinition], Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _trains_something(self) -> "ChatRow":
        if not any(message.role == "assistant" for message in self.messages):
            raise ValueError("at least one message has to be from the assistant")
        return self

    @model_validator(mode="after")
    def _shows_few_images(self) -> "ChatRow":
        if self.num_images > MAX_IMAGES:
            raise ValueError(f"there are {self.num_images} images, but an example may have {MAX_IMAGES} at most")
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

    @model_validator(mode="after")
    def _is_text(self) -> "PreferenceRow":
        if self.input.num_images:
            raise ValueError("preferences are trained on text only, without images")
        return self


Row = ChatRow | CompletionRow | PreferenceRow
_ROWS: dict[RowFormat, type[Row]] = {
    "fine-tune-chat": ChatRow,
    "fine-tune-completion": CompletionRow,
    "fine-tune-preference": PreferenceRow,
}


@dataclass(frozen=True, slots=True)
class RowsReport:
    """What a file holds: the format of all its rows, how many can be trained on, and how many show images."""

    format: RowFormat
    num_examples: int
    num_skipped: int = 0


def check_rows(lines: Iterable[bytes], method: TrainingMethod) -> RowsReport:
    """Check every row of a training file; `lines` are read once. Raises `RowError`, which names the first bad line."""
    row_format, num_examples, num_skipped = None, 0, 0
    for _, row in read_rows(lines, method):
        row_format = row_format or detect_format(row)
        if is_skipped(row):
            num_skipped += 1
        else:
            num_examples += 1
    if row_format is None or num_examples < MIN_EXAMPLES:
        raise TooFewRowsError(num_examples, num_skipped=num_skipped)
    return RowsReport(row_format, num_examples, num_skipped)


def is_skipped(row: Row) -> bool:
    """Return whether a row is good, but shows images, which no text model can see."""
    return isinstance(row, ChatRow) and row.num_images > 0


def read_rows(lines: Iterable[bytes], method: TrainingMethod) -> Iterable[tuple[int, Row]]:
    """Give the rows, each checked, with the numbers of their lines; all have one format. Raises `RowError`."""
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
            yield number, _ROWS[found].model_validate(value)
        except ValidationError as error:
            raise RowError(f"Line {number}{_complaint(error, value)}") from None


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


def _complaint(error: ValidationError, row: dict[str, Any]) -> str:
    first = error.errors()[0]
    place = _place(first["loc"], row, is_missing=first["type"] == "missing")
    if first["type"] == "extra_forbidden":
        return f": unknown key '{place}'."
    words = _WORDS.get(first["type"])
    message = words.format(**first.get("ctx", {})) if words else first["msg"].removeprefix("Value error, ")
    message = shorten(message)
    return f", {place}: {message}." if place else f": {message}."


def shorten(text: str) -> str:
    """Return a text that may quote a row, cut to a length that can be shown."""
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


_WORDS = {
    "missing": "this key is needed",
    "string_type": "expected a string",
    "bool_type": "expected a boolean",
    "list_type": "expected an array",
    "dict_type": "expected an object",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "too_short": "expected {min_length} or more, not {actual_length}",
    "too_long": "expected {max_length} at most, not {actual_length}",
    "string_too_short": "expected a text that is not empty",
    "literal_error": "expected {expected}",
    "union_tag_not_found": "the key {discriminator} is needed, with a string",
    "union_tag_invalid": "the {discriminator} '{tag}' is none of {expected_tags}",
}
"""What is said of a finding, by pydantic's name for it."""


def _place(location: tuple[int | str, ...], row: dict[str, Any], *, is_missing: bool) -> str:
    """Return the path to a member of a row; what the location says of chosen forms is no part of it."""
    place, value = "", cast("Any", row)
    for depth, part in enumerate(location, start=1):
        if isinstance(part, int) and isinstance(value, list):
            place, value = f"{place}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            place, value = f"{place}.{part}", value[part]
        elif is_missing and depth == len(location):
            place = f"{place}.{part}"
    return shorten(place.removeprefix("."))
