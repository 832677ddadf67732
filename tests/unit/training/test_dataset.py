"""Which tokens of a row a model is shown, and which it is trained on."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from openhearth.chat_template import ChatTemplate
from openhearth.schemas.chat_completions import CreateChatCompletionRequest
from openhearth.services.chat_messages import read_messages
from openhearth.services.tool_use import read_tool_use
from openhearth.training.dataset import IGNORED, Encoder, TrainingData
from openhearth.training.rows import RowError
from openhearth.training.spec import TrainingMethod
from tests.tiny_model import CHAT_TEMPLATE, make_tiny_model

USER = {"role": "user", "content": "2+2?"}
ASSISTANT = {"role": "assistant", "content": "4"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
FUNCTION_ANSWER = {"role": "function", "name": "add", "content": "4"}
TOOL_ANSWER = {"role": "tool", "tool_call_id": "call_1", "content": "4"}
THINKING_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
)

TEMPLATE_WITH_IDS = (
    "{% if tools %}<tool_call>{% endif %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.id }}{{ call.function.name }}{% endfor %}{{ m.tool_call_id }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def served_prompt(template: str, request: dict[str, Any]) -> str:
    """Return what a chat request shows a model."""
    read = CreateChatCompletionRequest.model_validate({"model": "tiny", **request})
    tools = [tool.described() for tool in read_tool_use(read).shown]
    return ChatTemplate({"default": template}, special_tokens={}).render(read_messages(read.messages), tools=tools)


class Reader:
    """Reads one row with the tiny model's tokenizer."""

    def __init__(self, folder: Path, *, max_length: int = 512, chat_template: str | None = CHAT_TEMPLATE) -> None:
        self.file = folder / "rows.jsonl"
        self.tokenizer = AutoTokenizer.from_pretrained(make_tiny_model(folder / "model", chat_template=chat_template))
        self.encoder = Encoder(self.tokenizer, max_length=max_length)

    def data(self, row: Any, method: TrainingMethod = "supervised") -> TrainingData:
        """Return the row as training data."""
        self.file.write_text(json.dumps(row))
        return self.encoder.read(self.file, method)

    def shown(self, row: Any, *, example: int = 0) -> str:
        """Return all that the model sees of a row."""
        return str(self.tokenizer.decode(self.data(row).examples[example]["input_ids"]))

    def trained(self, row: Any, *, example: int = 0) -> str:
        """Return what the model is trained on, with gaps closed."""
        labels = self.data(row).examples[example]["labels"]
        return str(self.tokenizer.decode([label for label in labels if label != IGNORED]))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Give a reader."""
    return Reader(tmp_path)


class TestChat:
    """Conversations, written by the model's own template."""

    def test_only_answers_are_trained(self, reader: Reader) -> None:
        """The loss is on the assistant's words and on the end of its turn."""
        row = {"messages": [{"role": "system", "content": "Be terse."}, USER, ASSISTANT]}

        assert reader.shown(row) == "<|system|>Be terse.<|end|>\n<|user|>2+2?<|end|>\n<|assistant|>4<|end|>\n"
        assert reader.trained(row) == "4<|end|>"

    def test_weights(self, reader: Reader) -> None:
        """An answer of weight 0 is shown and not trained; others are trained."""
        row = {"messages": [USER, ASSISTANT | {"content": "no", "weight": 0}, USER, ASSISTANT | {"weight": 1}, USER]}

        assert "no" in reader.shown(row)
        assert reader.trained(row) == "4<|end|>"

    def test_tool_calls(self, tmp_path: Path) -> None:
        """Tool calls are trained in the template's words, with their arguments as values."""
        row = {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]}

        reader = Reader(tmp_path, chat_template="{% if tools %}<tool_call>{% endif %}" + CHAT_TEMPLATE)

        assert reader.trained(row) == '[add {"a": 2}]<|end|>'

    def test_tool_calls_that_the_template_has_no_words_for(self, reader: Reader) -> None:
        """They are trained in the words that the server would ask for."""
        row = {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}]}

        assert reader.trained(row) == '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call><|end|>'

    @pytest.mark.parametrize("template", [CHAT_TEMPLATE, THINKING_TEMPLATE, TEMPLATE_WITH_IDS])
    @pytest.mark.parametrize(
        "messages",
        [
            [{"role": "developer", "content": "Be terse."}, USER],
            [USER, {"role": "assistant", "tool_calls": [CALL]}, TOOL_ANSWER],
            [USER, {"role": "assistant", "content": None, "function_call": CALL["function"]}, FUNCTION_ANSWER],
            [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER],
        ],
    )  # fmt: skip
    def test_shown_as_when_it_is_served(self, tmp_path: Path, template: str, messages: list[Any]) -> None:
        """In front of an answer the model sees what a request with the same messages and tools would show it."""
        tools = [{"type": "function", "function": {"name": "add", "strict": True}}]
        row = {"messages": [*messages, ASSISTANT], "tools": tools}
        served = served_prompt(template, {"messages": messages, "tools": tools})

        reader = Reader(tmp_path, chat_template=template)

        assert reader.shown(row, example=-1).startswith(f"{served}4<|end|>")

    def test_answers_that_change_once_others_follow(self, tmp_path: Path) -> None:
        """Where a template forgets what was thought, each answer is the end of its own example."""
        reader = Reader(tmp_path, chat_template=THINKING_TEMPLATE)
        row = {"messages": [USER, ASSISTANT | {"content": "no"}, USER, ASSISTANT]}

        data = reader.data(row)

        assert len(data.examples) == 2
        assert reader.trained(row) == "no<|end|>"
        assert reader.trained(row, example=1) == "4<|end|>"

    def test_parts(self, reader: Reader) -> None:
        """Content in parts is their text, one after the other."""
        parts = [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}]
        row = {"messages": [USER | {"content": parts}, ASSISTANT]}

        assert "<|user|>2+2?<|end|>" in reader.shown(row)

    def test_answer_that_begins_within_a_token(self, tmp_path: Path) -> None:
        """The prompt has the tokens that it has when the model is asked, and all of the answer is trained."""
        alphabet = [*sorted(ByteLevel.alphabet()), "ĊĠ"]
        raw = Tokenizer(BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[("Ċ", "Ġ")]))
        raw.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        template = "{% for m in messages %}{{ m.role }}\n{{ m.content }};{% endfor %}"
        template += "{% if add_generation_prompt %}assistant\n{% endif %}"
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=template, eos_token=";")
        row = {"messages": [USER, ASSISTANT | {"content": " four\n "}]}
        (tmp_path / "rows.jsonl").write_text(json.dumps(row))

        (example,) = Encoder(tokenizer, max_length=99).read(tmp_path / "rows.jsonl", "supervised").examples

        tokens = tokenizer.convert_ids_to_tokens(example["input_ids"])
        trained = [token for token, label in zip(tokens, example["labels"], strict=True) if label != IGNORED]
        assert tokens[: -len(trained)] == raw.encode("user\n2+2?;assistant\n").tokens
        assert trained == ["Ġ", "f", "o", "u", "r", "ĊĠ", ";"]

    @pytest.mark.parametrize("tools", [[], [{"type": "function", "function": {"name": "add"}}]])
    def test_answer_that_begins(self, tmp_path: Path, tools: list[Any]) -> None:
        """An answer that nothing precedes is trained, also by a template that cannot write no message at all."""
        template = "{% if messages[0].role != 'system' %}<|system|>Be kind.<|end|>\n{% endif %}" + CHAT_TEMPLATE
        row = {"messages": [ASSISTANT | {"content": "Hello!"}, USER, ASSISTANT], "tools": tools}

        reader = Reader(tmp_path, chat_template=template)

        assert reader.trained(row) == "Hello!<|end|>4<|end|>"

    def test_date(self, tmp_path: Path) -> None:
        """A template that writes the date writes the one that is given, so that a resumed run has the same tokens."""
        reader = Reader(tmp_path, chat_template="{{ strftime_now('%Y-%m-%d') }}" + CHAT_TEMPLATE)
        reader.file.write_text(json.dumps({"messages": [USER, ASSISTANT]}))
        encoder = Encoder(reader.tokenizer, max_length=512, now=datetime(2024, 7, 26))

        (example,) = encoder.read(reader.file, "supervised").examples

        assert reader.tokenizer.decode(example["input_ids"]).startswith("2024-07-26<|user|>")

    def test_arguments_nested_beyond_reading(self, reader: Reader) -> None:
        """They are trained as the text that they are."""
        call = CALL | {"function": {"name": "add", "arguments": "[" * 100_000}}
        data = reader.data({"messages": [USER, {"role": "assistant", "tool_calls": [call]}]})

        assert data.num_cut == 1

    @pytest.mark.parametrize(
        ("template", "complaint"),
        [
            (None, "Line 1: the model has no chat template"),
            ("{% if tools %}<tool_call>{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}", "tool calls"),
            ("{% for m in messages %}{{ loop.length }}{{ m.content }}{% endfor %}", "behind the prompt"),
            ("{{ messages[9].content }}", "Line 1: .* refuses these messages"),
            ("{{ raise_exception('one call at a time') }}", "Line 1: .* refuses these messages: one call at a time"),
        ],
    )
    def test_templates_that_cannot(self, tmp_path: Path, template: str | None, complaint: str) -> None:
        """A template that has no words for a row is an error that names the line."""
        row = {"messages": [USER, {"role": "assistant", "content": "x", "tool_calls": [CALL]}]}

        with pytest.raises(RowError, match=complaint):
            Reader(tmp_path, chat_template=template).data(row)

    def test_lines_are_counted_as_they_are(self, tmp_path: Path) -> None:
        """Empty lines, and examples that are skipped, count where a line is named."""
        reader = Reader(tmp_path, chat_template=None)
        image = {"type": "image_url", "image_url": {"url": "https://example.com/lamp.png"}}
        rows = [{"messages": [USER | {"content": [image]}, ASSISTANT]}, {"messages": [USER, ASSISTANT]}]
        reader.file.write_text("\n\n".join(map(json.dumps, rows)))

        with pytest.raises(RowError, match="Line 3: the model has no chat template"):
            reader.encoder.read(reader.file, "supervised")

    def test_cut(self, tmp_path: Path) -> None:
        """What is too long is cut at its end, and counted."""
        data = Reader(tmp_path, max_length=20).data({"messages": [USER, ASSISTANT | {"content": "4" * 100}]})

        assert (len(data.examples[0]["input_ids"]), len(data.examples[0]["labels"])) == (20, 20)
        assert (data.num_cut, data.num_tokens) == (1, 20)


class TestCompletion:
    """Prompts and how they go on."""

    def test_only_the_completion_is_trained(self, reader: Reader) -> None:
        """The loss is on the completion and on the end of the text."""
        row = {"prompt": "Paris ->", "completion": " France"}

        assert reader.shown(row) == "Paris -> France<|end|>"
        assert reader.trained(row) == " France<|end|>"

    def test_empty_prompt(self, reader: Reader) -> None:
        """Without a prompt, the completion follows the token that starts a text."""
        row = {"prompt": "", "completion": "Once"}

        assert reader.shown(row) == "<|end|>Once<|end|>"
        assert reader.trained(row) == "Once<|end|>"


class TestPreference:
    """Two answers to one conversation."""

    @pytest.mark.parametrize("names", [("preferred_output", "non_preferred_output"),
                                       ("preferred_completion", "non_preferred_completion")])  # fmt: skip
    def test_tokens(self, reader: Reader, names: tuple[str, str]) -> None:
        """Prompt and answers are kept apart."""
        row = {"input": {"messages": [USER]}, names[0]: [ASSISTANT], names[1]: [ASSISTANT | {"content": "5"}]}

        example = reader.data(row, "dpo").examples[0]

        assert {name: reader.tokenizer.decode(ids) for name, ids in example.items()} == {
            "prompt_ids": "<|user|>2+2?<|end|>\n<|assistant|>",
            "chosen_ids": "4<|end|>",
            "rejected_ids": "5<|end|>",
        }

    def test_cut(self, tmp_path: Path) -> None:
        """Each answer is cut so that it fits behind the prompt; some of it always does."""
        row = {"input": {"messages": [USER | {"content": "2" * 100}]},
               "preferred_output": [ASSISTANT], "non_preferred_output": [ASSISTANT]}  # fmt: skip

        data = Reader(tmp_path, max_length=20).data(row, "dpo")

        assert {name: len(ids) for name, ids in data.examples[0].items()} == {
            "prompt_ids": 19,
            "chosen_ids": 1,
            "rejected_ids": 1,
        }
        assert data.num_cut == 1
