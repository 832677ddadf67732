"""Training files are checked row by row, and what is wrong is said with its line."""

import json
from typing import Any

import pytest

from openhearth.training.rows import RowError, RowsReport, TooFewRowsError, check_rows
from openhearth.training.spec import TrainingMethod

USER = {"role": "user", "content": "2+2?"}
ASSISTANT = {"role": "assistant", "content": "4"}
CHAT = {"messages": [USER, ASSISTANT]}
COMPLETION = {"prompt": "Capital of France? ->", "completion": " Paris"}
PREFERENCE = {
    "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [ASSISTANT],
    "non_preferred_output": [{"role": "assistant", "content": "5"}],
}
OLDER_PREFERENCE = {
    "input": {"messages": [USER]},
    "preferred_completion": [ASSISTANT],
    "non_preferred_completion": [ASSISTANT],
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALLING = {
    "messages": [
        {"role": "system", "content": "Be terse."},
        USER,
        {"role": "assistant", "tool_calls": [CALL], "weight": 0},
        {"role": "tool", "content": "4", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "4", "weight": 1},
    ],
    "tools": [TOOL],
    "parallel_tool_calls": False,
}
CALLING_OLD = {
    "messages": [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": "{}"}},
        {"role": "function", "name": "add", "content": "4"},
    ],
    "functions": [{"name": "add", "parameters": {}}],
}


def lines(*rows: Any) -> list[bytes]:
    """Return a file of these rows, filled up with the first one to be long enough."""
    filled = [*rows, *([rows[0]] * (10 - len(rows)))]
    return [json.dumps(row).encode() + b"\n" for row in filled]


class TestGoodRows:
    """Every documented form is taken."""

    @pytest.mark.parametrize(
        ("row", "method", "expected"),
        [
            (CHAT, "supervised", "fine-tune-chat"),
            (CALLING, "supervised", "fine-tune-chat"),
            (CALLING_OLD, "supervised", "fine-tune-chat"),
            (COMPLETION, "supervised", "fine-tune-completion"),
            ({"prompt": "", "completion": "Once"}, "supervised", "fine-tune-completion"),
            (PREFERENCE, "dpo", "fine-tune-preference"),
            (OLDER_PREFERENCE, "dpo", "fine-tune-preference"),
        ],
    )
    def test_formats(self, row: Any, method: TrainingMethod, expected: str) -> None:
        """The format shows in the keys."""
        assert check_rows(lines(row), method) == RowsReport(expected, 10)  # type: ignore[arg-type]


class TestBadRows:
    """What is wrong is said in one sentence."""

    def test_too_few(self) -> None:
        """Less than ten rows are not enough."""
        with pytest.raises(TooFewRowsError) as caught:
            check_rows(lines(CHAT)[:7], "supervised")

        assert caught.value.num_examples == 7

    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ({"messages": []}, "Line 2, messages: "),
            ({"messages": [USER]}, "Line 2: at least one message has to be from the assistant."),
            ({"messages": [ASSISTANT | {"weight": 2}]}, "Line 2, messages[0].weight: "),
            ({"messages": [{"role": "assistant"}]}, "Line 2, messages[0]: an assistant message needs "),
            ({"messages": [{"role": "king", "content": "x"}]}, "Line 2, messages[0]: "),
            ({"messages": [USER | {"content": 5}, ASSISTANT]}, "Line 2, messages[0].content: "),
            (CHAT | {"color": "red"}, "Line 2: unknown key 'color'."),
            ({"messages": [USER | {"mood": "good"}, ASSISTANT]}, "Line 2: unknown key 'messages[0].mood'."),
            (COMPLETION, "Line 2 has the format fine-tune-completion, but the lines before it have fine-tune-chat."),
            ({"text": "x"}, "Line 2 has no known format"),
            ([], "Line 2 has no known format"),
        ],
    )
    def test_row(self, row: Any, complaint: str) -> None:
        """The line and the place in it are named."""
        with pytest.raises(RowError) as caught:
            check_rows(lines(CHAT, row), "supervised")

        assert str(caught.value).startswith(complaint)

    def test_no_json(self) -> None:
        """A line that is not JSON is named."""
        with pytest.raises(RowError, match=r"Line 3 is not valid JSON"):
            check_rows([*lines(CHAT)[:2], b"{\n", *lines(CHAT)], "supervised")

    def test_wrong_method(self) -> None:
        """A format that does not fit the method is named, and so is the method."""
        with pytest.raises(RowError, match=r"file format \(fine-tune-chat\) is not compatible with the method: dpo"):
            check_rows(lines(CHAT), "dpo")
