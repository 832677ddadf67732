"""Reading calls out of a text, however it is cut into pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhearth.chat_template import ToolCallFormat
from openhearth.services.tool_calls import ArgumentsGained, CallBegun, ContentGained, Event, ToolCallReader

LLAMA = ToolCallFormat(begin="", end="", arguments_key="parameters")
JSON_OBJECTS = st.dictionaries(st.text(max_size=5), st.recursive(st.text() | st.integers(), st.lists, max_leaves=5))


def read(pieces: list[str], written: ToolCallFormat | None = None) -> list[Event]:
    """Read a text that comes in pieces."""
    reader = ToolCallReader(["f", "g"], written or ToolCallFormat())
    return [event for piece in pieces for event in reader.read(piece)] + reader.end()


def content(events: list[Event]) -> str:
    """Return all content."""
    return "".join(event.text for event in events if isinstance(event, ContentGained))


def calls(events: list[Event]) -> list[tuple[str, str]]:
    """Return names and arguments of all calls."""
    names = [event.name for event in events if isinstance(event, CallBegun)]
    gained = [event for event in events if isinstance(event, ArgumentsGained)]
    return [(name, "".join(event.text for event in gained if event.index == index)) for index, name in enumerate(names)]


def cut(text: str, places: list[int]) -> list[str]:
    """Cut a text at places, which are taken modulo its length."""
    ends = sorted({place % (len(text) + 1) for place in places} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def mark(name: str, arguments: str) -> str:
    """Write a call."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@given(text=st.text(alphabet="ab <tol_c>\n"), places=st.lists(st.integers(0)))
def test_any_text_without_calls(text: str, places: list[int]) -> None:
    """A text without a call is content, all of it, wherever it is cut."""
    if "<tool_call>" not in text:
        assert content(read(cut(text, places))) == text


@given(arguments=st.lists(JSON_OBJECTS, min_size=1, max_size=3), places=st.lists(st.integers(0)))
def test_any_calls(arguments: list[dict[str, object]], places: list[int]) -> None:
    """Calls come out as they were written, wherever the text is cut, with only the words before as content."""
    written = [json.dumps(each, ensure_ascii=False) for each in arguments]
    text = "Well.\n\n" + "\n".join(mark("f", each) for each in written)

    events = read(cut(text, places))

    assert content(events) == "Well."
    assert calls(events) == [("f", each) for each in written]
    assert sum(isinstance(event, ArgumentsGained) and event.is_complete for event in events) == len(written)


@pytest.mark.parametrize("text", ["\n\n" + mark("f", "{}"), mark("f", "{}") + "\n", mark("f", "{}")])
def test_white_space_around_calls(text: str) -> None:
    """White space before the first and behind the last call is no content."""
    events = read(list(text))

    assert content(events) == ""
    assert calls(events) == [("f", "{}")]


def test_braces_in_strings() -> None:
    """Braces, quotes and marks inside of strings end nothing."""
    arguments = json.dumps({"a": '}]"\\', "b": "}\n</tool_call>", "c": [{"d": {}}]})

    assert calls(read(list(mark("g", arguments)))) == [("g", arguments)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>\n{"name": "f", "argu', []),
        ('<tool_call>\n{"name": "f", "arguments": {"a": [1', [("f", '{"a": [1')]),
        ('<tool_call>\n{"name": "f", "arguments": {}}\n</tool', [("f", "{}")]),
    ],
)
def test_cut_short(text: str, expected: list[tuple[str, str]]) -> None:
    """Of a call that is cut short what there is of its arguments remains, and nothing of it becomes content."""
    events = read([text])

    assert calls(events) == expected
    assert content(events) == ""


def test_beginning_is_held_back() -> None:
    """What may become the beginning of a call waits, and is content after all if it does not."""
    reader = ToolCallReader(["f"], ToolCallFormat())

    assert reader.read("a <tool") == [ContentGained("a")]
    assert reader.read("box>") == [ContentGained(" <toolbox>")]


class TestWithoutMarks:
    """Models that write a call as the whole of their message."""

    @given(arguments=JSON_OBJECTS, places=st.lists(st.integers(0)))
    def test_call(self, arguments: dict[str, object], places: list[int]) -> None:
        """The message is the call."""
        text = f'{{"name": "g", "parameters": {json.dumps(arguments)}}}'

        events = read(cut(text, places), LLAMA)

        assert calls(events) == [("g", json.dumps(arguments))]
        assert content(events) == ""

    @pytest.mark.parametrize("text", ["Hello {there}", '{"mood": "good"}', '{"name": "unknown"}', "", "{"])
    def test_text(self, text: str) -> None:
        """Anything else is content, also JSON that is no call."""
        events = read(list(text), LLAMA)

        assert content(events) == text
        assert calls(events) == []
