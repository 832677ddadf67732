"""Chat templates: Jinja as models bring it, and help for templates that know nothing of tools."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from openhearth.chat_template import ChatTemplate, ToolCallFormat
from openhearth.errors import BadRequestError, ModelLoadError

PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
USER = {"role": "user", "content": "Hi <there>"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"é": 1}}}


def template(source: str, **special_tokens: str) -> ChatTemplate:
    """Compile one template."""
    return ChatTemplate({"default": source}, special_tokens=special_tokens)


class TestRender:
    """What templates may rely on."""

    def test_messages_and_generation_prompt(self) -> None:
        """Messages are rendered in their order, and the assistant is asked to go on."""
        assert template(PLAIN).render([USER]) == "user: Hi <there>\nassistant:"

    def test_special_tokens(self) -> None:
        """Special tokens are there by their names."""
        assert (
            template("{{ bos_token }}x{{ eos_token }}", bos_token="<s>", eos_token="</s>").render([USER]) == "<s>x</s>"
        )

    def test_tojson(self) -> None:
        """`tojson` writes plain JSON: no escapes for HTML, none for letters, and the members in their order."""
        source = "{{ {'b': '<é>', 'a': [1]} | tojson }} {{ {'a': 1} | tojson(indent=2) }}"

        assert template(source).render([USER]) == '{"b": "<é>", "a": [1]} {\n  "a": 1\n}'

    def test_loop_controls_and_trimmed_blocks(self) -> None:
        """`break` and `continue` work, and blocks leave no line of their own behind."""
        skip = "  {% if m.role == 'system' %}{% continue %}{% endif %}"
        source = f"{{% for m in messages %}}\n{skip}\n{{{{ m.role }}}}\n{{% endfor %}}"

        assert template(source).render([{"role": "system", "content": ""}, USER]) == "user\n"

    def test_generation_block(self) -> None:
        """The marks around what was learnt from leave no trace."""
        assert template("a{% generation %}b{{ 1 }}{% endgeneration %}c").render([USER]) == "ab1c"

    def test_strftime_now(self) -> None:
        """Templates may know today's date."""
        rendered = template("{{ strftime_now('%Y') }}").render([USER])

        assert re.fullmatch(r"\d{4}", rendered)
        assert abs(int(rendered) - datetime.now().year) <= 1

    def test_thinking_is_off(self) -> None:
        """Models that think aloud when they are let are told not to."""
        assert template("{{ enable_thinking }}").render([USER]) == "False"

    def test_refusal(self) -> None:
        """A template may refuse messages, in words that reach the caller."""
        with pytest.raises(BadRequestError, match="Roles must alternate") as caught:
            template("{{ raise_exception('Roles must alternate') }}").render([USER])

        assert caught.value.param == "messages"

    def test_sandbox(self) -> None:
        """A template cannot reach into Python."""
        with pytest.raises(BadRequestError):
            template("{{ messages.__class__.__mro__ }}").render([USER])

    def test_arguments_stay_as_they_are(self) -> None:
        """A template cannot change what it is given."""
        with pytest.raises(BadRequestError):
            template("{{ messages.append(1) }}").render([USER])


class TestTools:
    """Tools, for templates that know them and for others."""

    def test_unknown_to_the_template(self) -> None:
        """Tools are explained in the system message, and calls and answers are written into ordinary messages."""
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "assistant", "content": "Well.", "tool_calls": [CALL, CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
        ]

        rendered = template(PLAIN).render(messages, tools=[TOOL])

        call = '<tool_call>\n{"name": "f", "arguments": {"é": 1}}\n</tool_call>'
        assert rendered.startswith("system: Be brief.\n\nYou can call")
        assert '<tools>\n{"name": "f", "parameters": {"type": "object"}}\n</tools>' in rendered
        assert f"assistant: Well.\n{call}\n{call}\n" in rendered
        assert rendered.endswith(
            "user: <tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>\nassistant:"
        )

    def test_without_a_system_message(self) -> None:
        """Where there is no system message, one is made."""
        assert template(PLAIN).render([USER], tools=[TOOL]).startswith("system: You can call")

    def test_messages_without_tools_stay(self) -> None:
        """Without tools nothing is added."""
        assert "system" not in template(PLAIN).render([USER])

    @pytest.mark.parametrize("name", ["tools", "xml_tools"])
    def test_known_to_the_template(self, name: str) -> None:
        """A template that shows tools itself gets them, and the calls, as they are."""
        source = f"{{{{ {name} | tojson }}}}{{{{ messages[0].tool_calls | tojson }}}}{{# <tool_call> #}}"

        rendered = template(source).render([{"role": "assistant", "content": "", "tool_calls": [CALL]}], tools=[TOOL])

        assert rendered == json.dumps([TOOL]) + json.dumps([CALL], ensure_ascii=False)

    def test_no_tools_are_none(self) -> None:
        """Without tools such a template sees none at all."""
        assert template("{{ tools is none }}{# <tool_call> #}").render([USER]) == "True"

    def test_formats(self) -> None:
        """The way a model writes calls follows from its template; the usual one is taught to those that have none."""
        assert template("{{ tools }}<tool_call>").tool_call_format == ToolCallFormat()
        assert template(PLAIN).tool_call_format == ToolCallFormat()
        llama = template('{{ tools }}{"name": "f", "parameters": {}}').tool_call_format
        assert (llama.begin, llama.end, llama.arguments_key) == ("", "", "parameters")

    def test_unreadable_format(self) -> None:
        """A template whose calls could not be read back is treated as if it knew no tools."""
        source = "{{ '[AVAILABLE_TOOLS]' if tools }}" + PLAIN

        rendered = template(source).render([USER], tools=[TOOL])

        assert rendered.startswith("system: You can call")
        assert template(source).tool_call_format == ToolCallFormat()


class TestFiles:
    """Where templates are found."""

    def test_in_the_tokenizer_config(self, tmp_path: Path) -> None:
        """The template stands in the tokenizer's configuration, with the special tokens, in either form."""
        config = {
            "chat_template": "{{ bos_token }}{{ eos_token }}",
            "bos_token": {"content": "<s>"},
            "eos_token": "</s>",
        }
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))

        found = ChatTemplate.from_directory(tmp_path)

        assert found is not None
        assert found.render([USER]) == "<s></s>"

    def test_in_a_file(self, tmp_path: Path) -> None:
        """A file of its own goes before the configuration."""
        (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "no"}')
        (tmp_path / "chat_template.jinja").write_text("yes")

        found = ChatTemplate.from_directory(tmp_path)

        assert found is not None
        assert found.render([USER]) == "yes"

    def test_several(self, tmp_path: Path) -> None:
        """Of several templates the one for tools is used when there are tools."""
        named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools }}<tool_call>"}]
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))

        found = ChatTemplate.from_directory(tmp_path)

        assert found is not None
        assert found.render([USER]) == "plain"
        assert found.render([USER], tools=[TOOL]).endswith("<tool_call>")

    def test_none(self, tmp_path: Path) -> None:
        """A model may have no template."""
        assert ChatTemplate.from_directory(tmp_path) is None

    def test_broken(self) -> None:
        """A template that is no Jinja does not load."""
        with pytest.raises(ModelLoadError):
            template("{% for %}")
