"""Grammars for answers, judged by llguidance: which texts they take whole, and which they do not."""

import json
from typing import Any

import pytest

from openhearth.chat_template import ToolCallFormat
from openhearth.engine.fake.grammar import start
from openhearth.errors import BadRequestError
from openhearth.schemas.chat_tools import JSONSchemaFormat, ResponseFormatJsonObject, ResponseFormatJsonSchema
from openhearth.services.grammars import answer_grammar
from openhearth.services.tool_use import CallableTool, ToolUse

MARKED = ToolCallFormat()
BARE = ToolCallFormat(begin="", end="", arguments_key="parameters")
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
F = CallableTool(name="f", description=None, parameters=NUMBER, path="tools[0].function")
G = CallableTool(name="g", description=None, parameters={"type": "object", "properties": {}}, path="tools[1].function")


def takes(grammar: str | None, text: str) -> bool:
    """Return whether a text is one that the grammar allows, from its beginning to its end."""
    assert grammar is not None
    matcher = start(grammar)
    tokens = list(text.encode())
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def mark(name: str, arguments: str) -> str:
    """Write a call."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def test_no_grammar() -> None:
    """Without a format and without tools any text will do."""
    assert answer_grammar(None, ToolUse(), MARKED) is None


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [("{}", True), ('{"a": [1, null]}', True), ("[]", False), ('{"a":1}', False), ('{"a": 1', False), ("Hello", False)],
)
def test_json_object(text: str, is_taken: bool) -> None:
    """A JSON object is written on one line, with a space after each comma and colon."""
    assert takes(answer_grammar(ResponseFormatJsonObject(type="json_object"), ToolUse(), MARKED), text) == is_taken


class TestAuto:
    """Tools that may be called."""

    @pytest.mark.parametrize(
        ("text", "is_taken"),
        [
            ("", True),
            ("Hello <b>there</b>", True),
            (mark("f", '{"n": 5}'), True),
            ("Well.\n" + mark("f", '{"n": 5}'), True),
            (mark("f", '{"n": 5}') + "\n" + mark("g", "{}"), True),
            (mark("f", '{"n": "5"}'), False),
            (mark("f", '{"n": 5, "m": 6}'), False),
            (mark("h", "{}"), False),
            ("a <tool_call> b", False),
            (mark("f", '{"n": 5}') + " and so on", False),
        ],
    )
    def test_marked(self, text: str, is_taken: bool) -> None:
        """Text may end in calls, and what is marked as a call is one."""
        assert takes(answer_grammar(None, ToolUse(callable=[F, G]), MARKED), text) == is_taken

    def test_only_one(self) -> None:
        """Where only one call is wanted, none follows the first."""
        grammar = answer_grammar(None, ToolUse(callable=[F, G], may_repeat=False), MARKED)

        assert takes(grammar, mark("g", "{}"))
        assert not takes(grammar, mark("g", "{}") + "\n" + mark("g", "{}"))

    @pytest.mark.parametrize(
        ("text", "is_taken"),
        [
            ("", True),
            ("Hello {there}", True),
            ('{"name": "f", "parameters": {"n": 5}}', True),
            ('{"name": "f", "parameters": {"n": "5"}}', False),
            ('{"mood": "good"}', False),
        ],
    )
    def test_bare(self, text: str, is_taken: bool) -> None:
        """Without marks a text that begins like an object is a call."""
        assert takes(answer_grammar(None, ToolUse(callable=[F, G]), BARE), text) == is_taken


@pytest.mark.parametrize("written", [MARKED, BARE])
def test_required(written: ToolCallFormat) -> None:
    """Where a call is required, nothing else will do."""
    grammar = answer_grammar(None, ToolUse(callable=[G], must_call=True), written)

    assert not takes(grammar, "")
    assert not takes(grammar, "Hello")
    assert takes(grammar, mark("g", "{}") if written is MARKED else '{"name": "g", "parameters": {}}')


@pytest.mark.parametrize("written", [MARKED, BARE])
def test_format_or_call(written: ToolCallFormat) -> None:
    """With a format an answer has the format or is a call."""
    form = ResponseFormatJsonSchema(type="json_schema", json_schema=JSONSchemaFormat(name="x", schema={"const": [1]}))  # type: ignore[call-arg]

    grammar = answer_grammar(form, ToolUse(callable=[G]), written)

    assert takes(grammar, "[1]")
    assert takes(grammar, mark("g", "{}") if written is MARKED else '{"name": "g", "parameters": {}}')
    assert not takes(grammar, "Hello")


def test_marks_that_are_tokens() -> None:
    """Marks that are tokens of their own are called by name, not spelt."""
    written = ToolCallFormat(are_tokens=True)

    auto = answer_grammar(None, ToolUse(callable=[G]), written)
    required = answer_grammar(None, ToolUse(callable=[G], must_call=True), written)

    for grammar in (auto, required):
        assert grammar is not None
        assert '"<tool_call>"' not in grammar
        assert " <tool_call>" in grammar
        assert " </tool_call>" in grammar


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": {}}, "additionalProperties"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, "Missing 'a'"),
        ({"$defs": {"x": {"type": "object"}}, "type": "string"}, "('$defs', 'x')"),
        ({"type": "array", "items": {"type": "object"}}, "('items',)"),
        ({"anyOf": [{"type": "string"}, {"type": "object"}]}, "('anyOf', '1')"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ],
)
def test_strict(schema: dict[str, Any], words: str) -> None:
    """A schema that claims to be strict has to be, and the complaint says where it is not."""
    form = JSONSchemaFormat(name="x", schema=schema, strict=True)  # type: ignore[call-arg]

    with pytest.raises(BadRequestError, match="Invalid schema for response_format 'x'") as caught:
        answer_grammar(ResponseFormatJsonSchema(type="json_schema", json_schema=form), ToolUse(), MARKED)

    assert words in caught.value.message


@pytest.mark.parametrize("strange", [{"properties": 5}, {"required": 5}, {"$defs": []}, {"anyOf": {}}, {"items": [5]}])
def test_strange_schemas(strange: dict[str, Any]) -> None:
    """A schema that makes no sense is refused, or does what it can, but breaks nothing."""
    form = JSONSchemaFormat(name="x", schema={"type": "object"} | strange, strict=True)  # type: ignore[call-arg]

    with pytest.raises(BadRequestError):
        answer_grammar(ResponseFormatJsonSchema(type="json_schema", json_schema=form), ToolUse(), MARKED)


def test_spacing_cannot_be_changed() -> None:
    """Options of the grammar's maker are no part of a schema."""
    schema = {"type": "array", "items": {"const": 1}, "x-guidance": {"item_separator": ";", "lenient": True}}
    form = ResponseFormatJsonSchema(type="json_schema", json_schema=JSONSchemaFormat(name="x", schema=schema))  # type: ignore[call-arg]

    grammar = answer_grammar(form, ToolUse(), MARKED)

    assert takes(grammar, json.dumps([1, 1]))
    assert not takes(grammar, "[1;1]")
