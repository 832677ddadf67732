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


TEXT = {"type": "text", "text": "What is this?"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/lamp.png"}}


def showing(num_images: int, **image_url: str) -> dict[str, Any]:
    """Return a row whose user shows images."""
    image = IMAGE | {"image_url": {"url": "https://example.com/lamp.png", **image_url}}
    content = [TEXT, *([image] * num_images)]
    return {"messages": [USER | {"content": content}, ASSISTANT]}


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

    def test_images(self) -> None:
        """Rows with images are good, counted, and not among the examples."""
        report = check_rows([*lines(CHAT), *lines(showing(1), showing(10))[:2]], "supervised")

        assert report == RowsReport("fine-tune-chat", 10, num_skipped=2)


class TestBadRows:
    """What is wrong is said in one sentence."""

    def test_too_few(self) -> None:
        """Less than ten rows are not enough."""
        with pytest.raises(TooFewRowsError) as caught:
            check_rows(lines(CHAT)[:7], "supervised")

        assert caught.value.num_examples == 7

    def test_too_few_without_images(self) -> None:
        """Rows that cannot be trained on do not count."""
        with pytest.raises(TooFewRowsError, match=r"9 example\(s\), but must have .*, not counting 3 with images"):
            check_rows([*lines(CHAT)[:9], *lines(showing(1))[:3]], "supervised")

    def test_images_in_preferences(self) -> None:
        """Preferences are text only."""
        row = PREFERENCE | {"input": {"messages": showing(1)["messages"][:1]}}

        with pytest.raises(RowError, match="Line 2: preferences are trained on text only"):
            check_rows(lines(PREFERENCE, row), "dpo")

    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ({"messages": []}, "Line 2, messages: expected 1 or more, not 0."),
            ({"messages": [USER]}, "Line 2: at least one message has to be from the assistant."),
            ({"messages": [ASSISTANT | {"weight": 2}]}, "Line 2, messages[0].weight: expected 0 or 1."),
            ({"messages": [{"role": "assistant"}]}, "Line 2, messages[0]: an assistant message needs "),
            (
                {"messages": [{"role": "king", "content": "x"}]},
                "Line 2, messages[0]: the 'role' 'king' is none of 'system', ",
            ),
            ({"messages": [USER | {"content": 5}, ASSISTANT]}, "Line 2, messages[0].content: expected a string."),
            (showing(11), "Line 2: there are 11 images, but an example may have 10 at most."),
            (showing(1, detail="vivid"), "Line 2, messages[0].content[1].image_url.detail: "),
            ({"messages": [USER, ASSISTANT | {"content": [IMAGE]}]}, "Line 2, messages[1].content[0]: "),
            (
                {"messages": [USER | {"content": [TEXT | {"text": 5}]}, ASSISTANT]},
                "Line 2, messages[0].content[0].text: ",
            ),
            (
                {"messages": [USER | {"content": [{"type": "text"}]}, ASSISTANT]},
                "Line 2, messages[0].content[0].text: ",
            ),
            ({"messages": [USER | {"content": []}, ASSISTANT]}, "Line 2, messages[0].content: "),
            (
                {"messages": [{"role": "function", "content": "x"}, ASSISTANT]},
                "Line 2, messages[0].name: this key is needed.",
            ),
            (
                {"messages": [USER, ASSISTANT | {"tool_calls": [{"id": "a", "type": "function"}]}]},
                "Line 2, messages[1].tool_calls[0].function: ",
            ),
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

    @pytest.mark.parametrize("row", [CHAT | {"x" * 10_000: 1}, {"messages": [{"role": "x" * 10_000}]}])
    def test_long(self, row: Any) -> None:
        """What is quoted of a row is cut."""
        with pytest.raises(RowError) as caught:
            check_rows(lines(row), "supervised")

        assert len(str(caught.value)) < 500

    def test_no_json(self) -> None:
        """A line that is not JSON is named."""
        with pytest.raises(RowError, match=r"Line 3 is not valid JSON"):
            check_rows([*lines(CHAT)[:2], b"{\n", *lines(CHAT)], "supervised")

    def test_wrong_method(self) -> None:
        """A format that does not fit the method is named, and so is the method."""
        with pytest.raises(RowError, match=r"file format \(fine-tune-chat\) is not compatible with the method: dpo"):
            check_rows(lines(CHAT), "dpo")
