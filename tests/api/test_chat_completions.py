"""Chat completions, as the official client sees them. The engine without weights says what stands in «quotes»."""

import json
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel

from openhearth.engine.fake.engine import FakeTextEngine
from tests.servers import MODEL, make_settings, run_server

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "maximum": 9}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}
LARK = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
PARIS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'


def function(parameters: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return a tool with these parameters."""
    return {"type": "function", "function": {"name": "f", "parameters": parameters} | options}


def say(text: str) -> list[dict[str, Any]]:
    """Return the messages that make the engine say `text`."""
    return [{"role": "user", "content": f"«{text}»"}]


def create(client: OpenAI, **params: Any) -> ChatCompletion:
    """Ask for a greedy answer."""
    defaults: dict[str, Any] = {"model": MODEL, "messages": say("Hello!"), "temperature": 0}
    completion: ChatCompletion = client.chat.completions.create(**(defaults | params))
    return completion


def stream(client: OpenAI, **params: Any) -> list[ChatCompletionChunk]:
    """Return all events of a streamed answer."""
    return list(create(client, stream=True, **params))  # type: ignore[arg-type]


def calls(choice: Choice) -> list[dict[str, Any]]:
    """Return the calls of a choice, without their ids."""
    made = [call.to_dict() for call in choice.message.tool_calls or ()]
    assert all(str(call.pop("id")).startswith("call_") for call in made)
    return made


def called(name: str, arguments: str) -> dict[str, Any]:
    """Return the call of a function."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def refusal(client: OpenAI, **params: Any) -> tuple[str | None, str | None]:
    """Return param and code of the 400 that a request gets."""
    with pytest.raises(BadRequestError) as caught:
        create(client, **params)
    assert caught.value.type == "invalid_request_error"
    return caught.value.param, caught.value.code


class TestResponse:
    """The shape of the answer."""

    def test_members(self, client: OpenAI) -> None:
        """A chat completion has every member the reference names."""
        completion = create(client, model="gpt-4o-mini")

        assert completion.id.startswith("chatcmpl-")
        assert completion.object == "chat.completion"
        assert completion.model == MODEL
        assert (completion.system_fingerprint or "").startswith("fp_")
        assert [choice.to_dict() for choice in completion.choices] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello!", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ]
        assert "service_tier" not in completion.to_dict()

    def test_usage(self, client: OpenAI) -> None:
        """Usage counts the rendered prompt and the whole answer."""
        usage = create(client, messages=say("Hi")).usage

        assert usage is not None
        assert usage.prompt_tokens == len("user: «Hi»\nassistant: ".encode())
        assert usage.completion_tokens == 3
        assert usage.prompt_tokens_details is not None
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens_details.reasoning_tokens == 0

    def test_headers(self, client: OpenAI) -> None:
        """The answer names the model."""
        response = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=say("x"))  # type: ignore[arg-type]

        assert response.headers["openai-model"] == MODEL

    async def test_async_client(self, async_client: AsyncOpenAI) -> None:
        """The asynchronous client gets the same."""
        answer = await async_client.chat.completions.create(model=MODEL, messages=say("Hi"), temperature=0)  # type: ignore[arg-type]

        assert answer.choices[0].message.content == "Hi"


class TestMessages:
    """Messages of every role and form."""

    def test_every_role(self, client: OpenAI) -> None:
        """A chat may have messages of all roles, with content as text or in parts."""
        call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
        messages = [
            {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": " kind."}]},
            {"role": "system", "content": "Be brief.", "name": "boss"},
            {"role": "user", "content": [{"type": "text", "text": "What time is it?"}], "name": "Ada"},
            {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call], "annotations": []},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "noon"}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "«Fine.»"},
        ]

        assert create(client, messages=messages).choices[0].message.content == "Fine."

    def test_calls_of_other_kinds(self, client: OpenAI) -> None:
        """A chat may hold calls of custom tools, and calls whose arguments are no JSON."""
        calls = [
            {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "x"}},
            {"id": "call_2", "type": "function", "function": {"name": "get_time", "arguments": "{broken"}},
        ]
        answers = [{"role": "tool", "tool_call_id": call["id"], "content": "«done»"} for call in calls]

        answer = create(client, messages=[{"role": "assistant", "tool_calls": calls}, *answers])

        assert answer.choices[0].message.content == "done"

    def test_older_form_of_calls(self, client: OpenAI) -> None:
        """Calls and answers may come in the older form."""
        messages = [
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": None, "function_call": {"name": "get_time", "arguments": "{}"}},
            {"role": "function", "name": "get_time", "content": "«noon»"},
        ]

        assert create(client, messages=messages).choices[0].message.content == "noon"

    def test_own_messages_come_back(self, client: OpenAI) -> None:
        """The message of an answer can be sent as it is."""
        first = create(client, messages=say(PARIS), tools=[WEATHER]).choices[0].message
        assert first.tool_calls is not None
        answer = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "«Sunny.»"}

        second = create(client, messages=[*say(""), first, answer], tools=[WEATHER])

        assert second.choices[0].message.content == "Sunny."

    @pytest.mark.parametrize(
        ("messages", "param", "code"),
        [
            ([], "messages", "empty_array"),
            ("Hello", "messages", "invalid_type"),
            ([{"role": "user"}], "messages[0].content", "missing_required_parameter"),
            ([{"role": "robot", "content": "x"}], "messages[0].role", "invalid_value"),
            ([{"content": "x"}], "messages[0].role", "missing_required_parameter"),
            ([{"role": "user", "content": "x", "mood": "good"}], "messages[0].mood", "unknown_parameter"),
            ([{"role": "user", "content": [{"type": "smell"}]}], "messages[0].content[0].type", "invalid_value"),
            (
                [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
                "messages[0].content[0].type",
                "invalid_value",
            ),
            (
                [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}],
                "messages[0].content[0].type",
                "invalid_value",
            ),
            (
                [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}],
                "messages[0].content[0].type",
                "invalid_value",
            ),
            ([{"role": "assistant"}], "messages[0].content", "invalid_type"),
            ([{"role": "assistant", "audio": {"id": "a"}}], "messages[0].audio", "unsupported_parameter"),
            ([{"role": "tool", "tool_call_id": "c", "content": "x"}], "messages[0].tool_call_id", "invalid_value"),
            (
                [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    },
                    {"role": "user", "content": "x"},
                ],
                "messages[1].role",
                "invalid_value",
            ),
            (
                [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}],
                    }
                ],
                "messages",
                "invalid_value",
            ),
        ],
    )
    def test_refused(self, client: OpenAI, messages: Any, param: str, code: str) -> None:
        """Messages that cannot be read, are of another medium, or leave calls unanswered are refused at their place."""
        assert refusal(client, messages=messages) == (param, code)

    def test_too_long(self, client: OpenAI) -> None:
        """Messages that leave no room, or less than was asked for, are refused."""
        with pytest.raises(BadRequestError) as caught:
            create(client, messages=say("x" * 2100))

        assert (caught.value.param, caught.value.code) == ("messages", "context_length_exceeded")
        assert "However, your messages resulted in 2122 tokens." in str(caught.value)
        assert refusal(client, max_tokens=2040) == ("messages", "context_length_exceeded")

    def test_unknown_model(self, client: OpenAI) -> None:
        """A model that does not exist is a 404."""
        with pytest.raises(NotFoundError) as caught:
            create(client, model="nobody")

        assert caught.value.code == "model_not_found"


class TestParameters:
    """Every parameter does what the reference says, or is refused."""

    def test_unlimited_by_default(self, client: OpenAI) -> None:
        """Without a limit an answer may fill the context."""
        completion = create(client, messages=[{"role": "user", "content": "Go on."}])

        assert completion.choices[0].finish_reason == "length"
        assert completion.usage is not None
        assert completion.usage.total_tokens == 2048

    @pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
    def test_limits(self, client: OpenAI, name: str) -> None:
        """Both names of the limit are one."""
        choice = create(client, **{name: 2}).choices[0]

        assert (choice.message.content, choice.finish_reason) == ("He", "length")

    def test_sampling(self, client: OpenAI) -> None:
        """Samples differ, and a seed gives the same ones again; stop, bias and penalties work."""
        first, second = (create(client, n=3, seed=4, temperature=1.5, max_tokens=8) for _ in range(2))

        texts = [choice.message.content for choice in first.choices]
        assert len(set(texts)) == 3
        assert texts == [choice.message.content for choice in second.choices]
        assert create(client, stop=["lo"]).choices[0].message.content == "Hel"
        assert create(client, logit_bias={ord("?"): 100}, max_tokens=2).choices[0].message.content == "??"
        forced = {ord("x"): 100, ord("q"): 99}
        penalised = create(client, logit_bias=forced, max_tokens=4, frequency_penalty=2, presence_penalty=0)
        assert penalised.choices[0].message.content == "xqxq"

    def test_logprobs(self, client: OpenAI) -> None:
        """Tokens come with bytes, log-probabilities and the asked number of alternatives."""
        logprobs = create(client, messages=say("é!"), logprobs=True, top_logprobs=2).choices[0].logprobs

        assert logprobs is not None
        assert logprobs.refusal is None
        assert logprobs.content is not None
        assert [token.token for token in logprobs.content] == ["bytes:\\xc3", "bytes:\\xa9", "!"]
        assert [token.bytes for token in logprobs.content] == [[0xC3], [0xA9], [0x21]]
        assert all(token.logprob < 0 for token in logprobs.content)
        assert [[top.token for top in token.top_logprobs] for token in logprobs.content][2] == ["!", '"']

    def test_logprobs_without_alternatives(self, client: OpenAI) -> None:
        """Without `top_logprobs` there are no alternatives."""
        logprobs = create(client, logprobs=True).choices[0].logprobs

        assert logprobs is not None
        assert [token.top_logprobs for token in logprobs.content or ()] == [[]] * 6

    def test_harmless(self, client: OpenAI) -> None:
        """What means something to the hosted service alone, and does no harm, is taken."""
        completion = create(
            client,
            store=True,
            metadata={"k": "v"},
            service_tier="flex",
            safety_identifier="x" * 128,
            prompt_cache_key="key",
            user="me",
            prediction={"type": "content", "content": "Hello!"},
            modalities=["text"],
            reasoning_effort="none",
            verbosity="medium",
            parallel_tool_calls=False,
            extra_body={"prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "implicit"}},
        )

        assert completion.choices[0].message.content == "Hello!"
        assert completion.service_tier == "default"

    def test_nulls(self, http: httpx2.Client) -> None:
        """Null means the default wherever the reference allows it."""
        optional = (
            "audio frequency_penalty logit_bias logprobs max_completion_tokens max_tokens metadata modalities n "
            "prediction presence_penalty reasoning_effort safety_identifier seed service_tier stop store stream "
            "stream_options temperature top_p verbosity prompt_cache_key moderation"
        )
        body = {"model": MODEL, "messages": say("Hi")} | dict.fromkeys(optional.split())

        response = http.post("/v1/chat/completions", json=body)

        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("params", "param", "code"),
        [
            ({"audio": {"voice": "alloy", "format": "wav"}}, "audio", "unsupported_parameter"),
            ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
            ({"extra_body": {"moderation": {"model": "m"}}}, "moderation", "unsupported_parameter"),
            ({"reasoning_effort": "high"}, "reasoning_effort", "unsupported_parameter"),
            ({"verbosity": "low"}, "verbosity", "unsupported_parameter"),
            ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
            ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
            ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
            ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_value"),
            ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
            ({"n": 129}, "n", "integer_above_max_value"),
            ({"temperature": 3}, "temperature", "decimal_above_max_value"),
            ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
            ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
            ({"metadata": {"a" * 65: "x"}}, f"metadata.{'a' * 65}", "string_above_max_length"),
            ({"service_tier": "gold"}, "service_tier", "invalid_value"),
            ({"extra_body": {"best_of": 2}}, "best_of", "unknown_parameter"),
            ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
            ({"response_format": {"type": "json_object"}}, "messages", "invalid_value"),
        ],
    )
    def test_refused(self, client: OpenAI, params: dict[str, Any], param: str, code: str) -> None:
        """What would change the answer and cannot be honoured is refused by name, like what is out of range."""
        assert refusal(client, **params) == (param, code)

    def test_model_without_template(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """A template may refuse the messages, and its words reach the caller."""
        engine = FakeTextEngine(chat_template="{{ raise_exception('Only one message, please.') }}")
        settings = make_settings(tmp_path_factory.mktemp("strict"))
        with run_server(settings, engine) as running, pytest.raises(BadRequestError, match="Only one message, please"):
            create(running.client())


class TestStream:
    """Server-sent events."""

    def test_sequence(self, client: OpenAI) -> None:
        """First the role, then what the message gains, then the reason it ended."""
        events = stream(client, messages=say("Hi!"))

        assert [event.choices[0].delta.to_dict() for event in events] == [
            {"role": "assistant", "content": ""},
            {"content": "H"},
            {"content": "i"},
            {"content": "!"},
            {},
        ]
        assert [event.choices[0].finish_reason for event in events] == [None, None, None, None, "stop"]
        assert {event.object for event in events} == {"chat.completion.chunk"}
        assert len({(event.id, event.created, event.model, event.system_fingerprint) for event in events}) == 1
        assert all("usage" not in event.to_dict() for event in events)

    def test_usage(self, client: OpenAI) -> None:
        """With `include_usage` the totals come in one more event, and are null before."""
        events = stream(client, messages=say("Hi!"), stream_options={"include_usage": True}, n=2)

        assert all(event.to_dict()["usage"] is None for event in events[:-1])
        assert events[-1].choices == []
        assert events[-1].usage is not None
        assert events[-1].usage.completion_tokens == 8

    def test_several_choices(self, client: OpenAI) -> None:
        """Each choice has its role once, and its own end."""
        roles, reasons, texts = [], [], {0: "", 1: "", 2: ""}
        for event in stream(client, messages=say("Hi!"), n=3):
            choice = event.choices[0]
            roles += [choice.index] if choice.delta.role else []
            reasons += [choice.index] if choice.finish_reason else []
            texts[choice.index] += choice.delta.content or ""

        assert sorted(roles) == sorted(reasons) == [0, 1, 2]
        assert set(texts.values()) == {"Hi!"}

    def test_logprobs(self, client: OpenAI) -> None:
        """Each piece of content brings the log-probabilities of its tokens."""
        events = stream(client, messages=say("é!"), logprobs=True)

        found = [event.choices[0].logprobs for event in events]
        assert [[token.bytes for token in logprobs.content or ()] for logprobs in found if logprobs] == [
            [[0xC3], [0xA9]],
            [[0x21]],
        ]

    def test_empty_answer(self, client: OpenAI) -> None:
        """An answer without text still has a beginning and an end."""
        events = stream(client, messages=say(""))

        assert [event.choices[0].delta.to_dict() for event in events] == [{"role": "assistant", "content": ""}, {}]

    def test_accumulates(self, client: OpenAI) -> None:
        """The official client's own accumulation of a stream gives the whole answer."""
        messages = say(f"Well.\n{PARIS}")
        params: dict[str, Any] = {"model": MODEL, "messages": messages, "tools": [WEATHER], "temperature": 0}
        with client.chat.completions.stream(**params) as events:
            final = events.get_final_completion()

        message = final.choices[0].message
        assert message.content == "Well."
        assert message.tool_calls is not None
        assert message.tool_calls[0].function.name == "get_weather"
        assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Paris"}
        assert final.choices[0].finish_reason == "tool_calls"


class TestTools:
    """Calls of tools."""

    def test_auto_without_a_call(self, client: OpenAI) -> None:
        """The model may answer in words."""
        choice = create(client, tools=[WEATHER]).choices[0]

        assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == ("Hello!", None, "stop")

    def test_auto_with_a_call(self, client: OpenAI) -> None:
        """A call has an id, a name and arguments, and nothing of it is content."""
        choice = create(client, messages=say(PARIS), tools=[TIME, WEATHER]).choices[0]

        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert calls(choice) == [called("get_weather", '{"city": "Paris"}')]

    def test_parallel_calls(self, client: OpenAI) -> None:
        """There may be several calls, each with its own id, unless only one is wanted."""
        messages = say(f"{PARIS}\n{NOW}\n{PARIS}")
        weather, time = called("get_weather", '{"city": "Paris"}'), called("get_time", "{}")

        several = create(client, messages=messages, tools=[WEATHER, TIME]).choices[0]
        one = create(client, messages=messages, tools=[WEATHER, TIME], parallel_tool_calls=False).choices[0]

        assert calls(several) == [weather, time, weather]
        assert len({call.id for call in several.message.tool_calls or ()}) == 3
        assert calls(one) == [weather]

    def test_unknown_tool_cannot_be_called(self, client: OpenAI) -> None:
        """Whatever the model wants to say, a call is of one of the tools, with arguments of its schema."""
        wrong = '<tool_call>\n{"name": "launch", "arguments": {"city": 5}}\n</tool_call>'

        [call] = calls(create(client, messages=say(wrong), tools=[WEATHER], max_tokens=200).choices[0])

        assert call["function"]["name"] == "get_weather"
        jsonschema_rs.validate(WEATHER["function"]["parameters"], json.loads(call["function"]["arguments"]))

    def test_none(self, client: OpenAI) -> None:
        """With `none` tools are not called."""
        message = create(client, tools=[WEATHER], tool_choice="none").choices[0].message

        assert (message.content, message.tool_calls) == ("Hello!", None)

    def test_required(self, client: OpenAI) -> None:
        """With `required` the model has to call a tool."""
        choice = create(client, messages=say(f"Oh. {PARIS}"), tools=[WEATHER], tool_choice="required").choices[0]

        assert choice.message.content is None
        assert {call["function"]["name"] for call in calls(choice)} == {"get_weather"}

    def test_named(self, client: OpenAI) -> None:
        """A named tool is called once, whichever the model would like better."""
        choice = {"type": "function", "function": {"name": "get_time"}}

        answer = create(client, messages=say(PARIS), tools=[WEATHER, TIME], tool_choice=choice).choices[0]

        assert answer.finish_reason == "tool_calls"
        assert calls(answer) == [called("get_time", "{}")]

    @pytest.mark.parametrize(("mode", "expected"), [("auto", []), ("required", [called("get_time", "{}")])])
    def test_allowed_tools(self, client: OpenAI, mode: str, expected: Any) -> None:
        """Of the tools that are shown only the allowed ones can be called."""
        allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "get_time"}}]}
        choice = {"type": "allowed_tools", "allowed_tools": allowed}

        answer = create(client, tools=[WEATHER, TIME], tool_choice=choice, parallel_tool_calls=False).choices[0]

        assert calls(answer) == expected

    def test_custom_tool(self, client: OpenAI) -> None:
        """A custom tool takes a text."""
        tool = {"type": "custom", "custom": {"name": "run", "description": "Run a program."}}
        wanted = '<tool_call>\n{"name": "run", "arguments": {"input": "print(\\"hi\\")"}}\n</tool_call>'

        answer = create(client, messages=say(wanted), tools=[tool]).choices[0]
        events = stream(client, messages=say(wanted), tools=[tool])

        assert calls(answer) == [{"type": "custom", "custom": {"name": "run", "input": 'print("hi")'}}]
        chunks = [delta.to_dict() for event in events for delta in event.choices[0].delta.tool_calls or ()]
        assert [chunk.get("custom") for chunk in chunks] == [{"name": "run", "input": ""}, {"input": 'print("hi")'}]

    def test_custom_tool_with_a_regular_expression(self, client: OpenAI) -> None:
        """A custom tool's text follows its regular expression."""
        grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[0-9]{3}"}}
        tool = {"type": "custom", "custom": {"name": "dial", "format": grammar}}
        choice = {"type": "custom", "custom": {"name": "dial"}}

        [call] = calls(create(client, tools=[tool], tool_choice=choice).choices[0])

        assert len(call["custom"]["input"]) == 3
        assert call["custom"]["input"].isdigit()

    def test_older_form(self, client: OpenAI) -> None:
        """Functions in the older form are called in the older form."""
        functions = [WEATHER["function"]]

        choice = create(client, messages=say(PARIS), functions=functions).choices[0]
        named = create(client, functions=functions, function_call={"name": "get_weather"}, max_tokens=200).choices[0]
        none = create(client, messages=say("No."), functions=functions, function_call="none").choices[0]
        events = stream(client, messages=say(PARIS), functions=functions)

        assert choice.finish_reason == "function_call"
        assert choice.message.function_call is not None
        assert choice.message.function_call.to_dict() == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
        assert choice.message.tool_calls is None
        assert named.message.function_call is not None
        assert none.message.content == "No."
        deltas = [event.choices[0].delta.function_call for event in events]
        assert "".join(delta.arguments or "" for delta in deltas if delta) == '{"city": "Paris"}'
        assert [delta.name for delta in deltas if delta and delta.name] == ["get_weather"]
        assert events[-1].choices[0].finish_reason == "function_call"

    def test_stream(self, client: OpenAI) -> None:
        """Id, type and name of a call come once, then its arguments in pieces; every delta has an index."""
        events = stream(client, messages=say(f"{PARIS}\n{NOW}"), tools=[WEATHER, TIME])

        assert events[0].choices[0].delta.to_dict() == {"role": "assistant", "content": None}
        deltas = [delta for event in events for delta in event.choices[0].delta.tool_calls or ()]
        starts = [delta for delta in deltas if delta.id]
        assert [(delta.index, delta.type, delta.function and delta.function.name) for delta in starts] == [
            (0, "function", "get_weather"),
            (1, "function", "get_time"),
        ]
        arguments = {0: "", 1: ""}
        for delta in deltas:
            assert delta.function is not None
            arguments[delta.index] += delta.function.arguments or ""
        assert arguments == {0: '{"city": "Paris"}', 1: "{}"}
        assert not any(event.choices[0].delta.content for event in events)
        assert events[-1].choices[0].finish_reason == "tool_calls"

    def test_cut_by_length(self, client: OpenAI) -> None:
        """A call that is cut short says so by its reason."""
        choice = create(client, messages=say(PARIS), tools=[WEATHER], max_tokens=60).choices[0]

        assert choice.finish_reason == "length"
        [call] = calls(choice)
        assert '{"city": "Paris"}'.startswith(call["function"]["arguments"])

    def test_custom_tool_cut_by_length(self, client: OpenAI) -> None:
        """Of a custom tool's input that is cut short there is what there is."""
        tool = {"type": "custom", "custom": {"name": "run"}}
        choice = {"type": "custom", "custom": {"name": "run"}}

        answer = create(client, tools=[tool], tool_choice=choice, max_tokens=60).choices[0]

        assert answer.finish_reason == "length"
        [call] = calls(answer)
        assert call["custom"]["input"].startswith('{"input": "')

    def test_logprobs_are_of_content(self, client: OpenAI) -> None:
        """Log-probabilities are those of the content; what makes up a call has none."""
        choice = create(client, messages=say(f"Well.\n{NOW}"), tools=[TIME], logprobs=True).choices[0]

        assert choice.message.content == "Well."
        assert choice.logprobs is not None
        assert "".join(token.token for token in choice.logprobs.content or ())[:5] == "Well."

    @pytest.mark.parametrize(
        ("params", "param", "code"),
        [
            ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
            (
                {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "nope"}}},
                "tool_choice",
                "invalid_value",
            ),
            ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name", "invalid_value"),
            (
                {"tools": [{"type": "function", "function": {"name": "no spaces"}}]},
                "tools[0].function.name",
                "invalid_value",
            ),
            ({"tools": [TIME] * 129}, "tools", "array_above_max_length"),
            (
                {"tools": [function({"type": "array"})]},
                "tools[0].function.parameters",
                "invalid_function_parameters",
            ),
            (
                {"tools": [function({"properties": {"a": {"type": 5}}})]},
                "tools[0].function.parameters",
                "invalid_function_parameters",
            ),
            (
                {"tools": [function({"type": "object", "properties": {}}, strict=True)]},
                "tools[0].function.parameters",
                "invalid_function_parameters",
            ),
            (
                {"tools": [{"type": "custom", "custom": {"name": "c", "format": LARK}}]},
                "tools[0].custom.format.grammar.syntax",
                "unsupported_parameter",
            ),
            ({"functions": [{"name": "f"}], "tools": [TIME]}, "functions", "invalid_value"),
        ],
    )
    def test_refused(self, client: OpenAI, params: dict[str, Any], param: str, code: str) -> None:
        """Tools that cannot be called as described are refused at their place."""
        assert refusal(client, **params) == (param, code)

    def test_loose_schema(self, client: OpenAI) -> None:
        """A schema that is not strict may ask for more than a grammar can promise."""
        parameters = {"type": "object", "properties": {"a": {"enum": ["x"], "not": {"const": "y"}}}, "required": ["a"]}

        answer = create(client, tools=[function(parameters)], tool_choice="required", parallel_tool_calls=False)

        assert calls(answer.choices[0]) == [called("f", '{"a": "x"}')]


class TestFormats:
    """JSON, and values of a schema."""

    def test_json_object(self, client: OpenAI) -> None:
        """An answer in JSON is an object, whatever the model would like to say."""
        messages = [{"role": "system", "content": "Answer in JSON."}, *say('{"a": [1, true]}')]

        content = create(client, messages=messages, response_format={"type": "json_object"}).choices[0].message.content

        assert json.loads(content or "") == {"a": [1, True]}

    def test_json_schema(self, client: OpenAI) -> None:
        """An answer of a schema is a value of it, whatever the model would like to say."""
        schema = {
            "type": "object",
            "properties": {"mood": {"enum": ["good", "bad"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["mood", "age"],
            "additionalProperties": False,
        }
        form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}}

        for text in ("Hello!", '{"mood": "ugly", "age": 100}', '{"mood": "bad", "age": 36}'):
            choice = create(client, messages=say(text), response_format=form).choices[0]
            assert choice.finish_reason == "stop"
            jsonschema_rs.validate(schema, json.loads(choice.message.content or ""))

        assert choice.message.content == '{"mood": "bad", "age": 36}'

    def test_parse(self, client: OpenAI) -> None:
        """The official client's `parse` works with a model class."""

        class Person(BaseModel):
            name: str
            age: int

        parsed = client.chat.completions.parse(
            model=MODEL,
            messages=say('{"name": "Ada", "age": 36}'),  # type: ignore[arg-type]
            response_format=Person,
            temperature=0,
        )

        assert parsed.choices[0].message.parsed == Person(name="Ada", age=36)

    def test_without_a_schema(self, client: OpenAI) -> None:
        """Without a schema any JSON value will do."""
        form = {"type": "json_schema", "json_schema": {"name": "anything"}}

        assert create(client, messages=say("[1, 2]"), response_format=form).choices[0].message.content == "[1, 2]"

    def test_text(self, client: OpenAI) -> None:
        """`text` is the default."""
        assert create(client, response_format={"type": "text"}).choices[0].message.content == "Hello!"

    @pytest.mark.parametrize("text", ['{"a": 1}', PARIS])
    def test_with_tools(self, client: OpenAI, text: str) -> None:
        """With tools an answer is a value of the schema or a call."""
        schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}

        message = create(client, messages=say(text), response_format=form, tools=[WEATHER]).choices[0].message

        assert (message.content is None) == (text == PARIS)
        assert (message.tool_calls is None) == (text != PARIS)

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
            {"type": "object", "properties": {}, "required": []},
            {"type": "array", "items": {"type": "object"}},
            {"type": "nonsense"},
            {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
            {"anyOf": [{"type": "object", "properties": {"a": {}}, "additionalProperties": False}]},
        ],
    )
    def test_refused_schemas(self, client: OpenAI, schema: dict[str, Any]) -> None:
        """A strict schema has to be closed and complete, and nothing in it may be beyond a grammar's means."""
        form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}

        assert refusal(client, response_format=form) == ("response_format", "invalid_json_schema")

    def test_deep_schema(self, client: OpenAI) -> None:
        """A schema without end is refused."""
        schema: dict[str, Any] = {"type": "string"}
        for _ in range(300):
            schema = {"type": "array", "items": schema}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

        assert refusal(client, response_format=form)[1] == "invalid_json_schema"
