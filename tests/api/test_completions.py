"""Completions, as the official client sees them. What the engine without weights says is foretold in its docstring."""

import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError, OpenAI
from openai.types import Completion

from openhearth.engine.fake.engine import FakeTextEngine
from tests.servers import MODEL, RunningServer, make_settings, run_server

DOCUMENT_START = 256


def create(client: OpenAI, **params: Any) -> Completion:
    """Ask for a greedy completion of the alphabet unless told otherwise."""
    defaults: dict[str, Any] = {"model": MODEL, "prompt": "abc", "temperature": 0, "max_tokens": 3}
    completion: Completion = client.completions.create(**(defaults | params))
    return completion


def stream(client: OpenAI, **params: Any) -> list[Completion]:
    """Return all events of a streamed completion."""
    return list(create(client, stream=True, **params))  # type: ignore[arg-type]


def refusal(client: OpenAI, **params: Any) -> tuple[str | None, str | None, str]:
    """Return param, code and message of the 400 that a request gets."""
    with pytest.raises(BadRequestError) as caught:
        create(client, **params)
    assert caught.value.type == "invalid_request_error"
    return caught.value.param, caught.value.code, caught.value.body["message"]  # type: ignore[index]


class TestResponse:
    """The shape of the answer."""

    def test_members(self, client: OpenAI) -> None:
        """A completion has every member the reference names, and its model's own name."""
        before = int(time.time())

        completion = create(client, model="gpt-3.5-turbo-instruct")

        assert completion.id.startswith("cmpl-")
        assert completion.object == "text_completion"
        assert before <= completion.created <= time.time()
        assert completion.model == MODEL
        assert completion.system_fingerprint is not None
        assert len(completion.system_fingerprint.removeprefix("fp_")) == 10
        assert [choice.to_dict() for choice in completion.choices] == [
            {"text": "def", "index": 0, "logprobs": None, "finish_reason": "length"}
        ]

    def test_usage(self, client: OpenAI) -> None:
        """Usage counts prompt and completion, with all details."""
        usage = create(client).usage

        assert usage is not None
        assert usage.to_dict() == {
            "prompt_tokens": 3,
            "completion_tokens": 3,
            "total_tokens": 6,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0,
                "audio_tokens": 0,
                "reasoning_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def test_cached_tokens(self, client: OpenAI) -> None:
        """What a prompt shares with an earlier one is counted as cached."""
        prompt = "a prompt that only this test sends, and that is long enough for two blocks"
        first, second = create(client, prompt=prompt).usage, create(client, prompt=prompt).usage

        assert first is not None
        assert second is not None
        assert first.prompt_tokens_details is not None
        assert second.prompt_tokens_details is not None
        assert first.prompt_tokens_details.cached_tokens == 0
        assert second.prompt_tokens_details.cached_tokens == 64

    def test_headers(self, client: OpenAI) -> None:
        """The answer names the model and is not to be cached."""
        response = client.completions.with_raw_response.create(model="gpt-4o-mini", prompt="abc")

        assert response.headers["openai-model"] == MODEL
        assert response.headers["cache-control"] == "no-cache, must-revalidate"

    async def test_async_client(self, async_client: AsyncOpenAI) -> None:
        """The asynchronous client gets the same."""
        completion = await async_client.completions.create(model=MODEL, prompt="abc", temperature=0, max_tokens=3)

        assert completion.choices[0].text == "def"


class TestPrompts:
    """The forms of a prompt."""

    def test_default_max_tokens(self, client: OpenAI) -> None:
        """Without `max_tokens` a completion has sixteen."""
        completion = client.completions.create(model=MODEL, prompt="abc", temperature=0)

        assert completion.choices[0].text == "defghijklmnopqrs"

    @pytest.mark.parametrize("prompt", [None, "", [DOCUMENT_START]])
    def test_start_of_document(self, client: OpenAI, prompt: Any) -> None:
        """A missing, null or empty prompt is the start of a document."""
        assert create(client, prompt=prompt).choices[0].text == "ABC"

    def test_omitted(self, http: httpx2.Client) -> None:
        """A prompt that is left out is the start of a document, too."""
        response = http.post("/v1/completions", json={"model": MODEL, "max_tokens": 2, "temperature": 0})

        assert response.json()["choices"][0]["text"] == "AB"

    def test_tokens(self, client: OpenAI) -> None:
        """An array of tokens is one prompt."""
        completion = create(client, prompt=list(b"xy"))

        assert [choice.text for choice in completion.choices] == ["zab"]
        assert completion.usage is not None
        assert completion.usage.prompt_tokens == 2

    @pytest.mark.parametrize("prompts", [["abc", "7", "x"], [list(b"abc"), list(b"7"), list(b"x")]])
    def test_many_prompts(self, client: OpenAI, prompts: Any) -> None:
        """Several prompts are continued at once: choice number `prompt × n + sample`, each prompt counted once."""
        completion = create(client, prompt=prompts, n=2)

        assert [choice.index for choice in completion.choices] == list(range(6))
        assert [choice.text for choice in completion.choices] == ["def", "def", "89.", "89.", "yza", "yza"]
        assert completion.usage is not None
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 18)

    def test_more_prompts_than_go_at_once(self, client: OpenAI) -> None:
        """A request may have more prompts than the engine gets at a time."""
        completion = create(client, prompt=["abc", "uvw"] * 100, max_tokens=1)

        assert [choice.text for choice in completion.choices] == ["d", "x"] * 100

    @pytest.mark.parametrize(
        ("prompt", "param", "code"),
        [
            (5, "prompt", "invalid_type"),
            ([], "prompt", "empty_array"),
            ([1, "a"], "prompt[1]", "invalid_type"),
            (["a", 1], "prompt[1]", "invalid_type"),
            ([[1], []], "prompt[1]", "empty_array"),
            ([[1], 2], "prompt[1]", "invalid_type"),
            ([1.5], "prompt[0]", "invalid_type"),
            ([300], "prompt", "invalid_value"),
            ([-1], "prompt", "invalid_value"),
            ([[1], [300]], "prompt", "invalid_value"),
        ],
    )
    def test_refused(self, client: OpenAI, prompt: Any, param: str, code: str) -> None:
        """A prompt of mixed or wrong types, without content, or with tokens that do not exist is refused."""
        assert refusal(client, prompt=prompt)[:2] == (param, code)

    def test_context_length(self, client: OpenAI) -> None:
        """Prompt and completion together must fit into the context; they may fill it."""
        param, code, message = refusal(client, prompt=["a", "x" * 2000], max_tokens=49)

        assert (param, code) == ("prompt", "context_length_exceeded")
        assert message == (
            "This model's maximum context length is 2048 tokens, however you requested 2049 tokens (2000 in your "
            "prompt; 49 for the completion). Please reduce your prompt; or completion length."
        )
        assert len(create(client, prompt="x" * 2000, max_tokens=48).choices[0].text) == 48

    def test_unknown_model(self, client: OpenAI) -> None:
        """A model that does not exist is a 404 by its code."""
        with pytest.raises(NotFoundError) as caught:
            create(client, model="nobody/knows:it")

        assert (caught.value.param, caught.value.code) == (None, "model_not_found")
        assert "The model `nobody/knows:it` does not exist or you do not have access to it." in str(caught.value)


class TestParameters:
    """Every parameter does what the reference says."""

    def test_n_and_seed(self, client: OpenAI) -> None:
        """Samples of one request differ, and a seed gives the same ones again."""
        first, second = (create(client, n=4, seed=11, temperature=1, max_tokens=12) for _ in range(2))

        texts = [choice.text for choice in first.choices]
        assert len(set(texts)) == 4
        assert texts == [choice.text for choice in second.choices]

    def test_128_choices(self, client: OpenAI) -> None:
        """There may be 128 choices."""
        assert len(create(client, n=128, max_tokens=1).choices) == 128

    @pytest.mark.parametrize("stop", ["g", ["zzz", "hij", "gh"], ["fgh"]])
    def test_stop(self, client: OpenAI, stop: Any) -> None:
        """Text ends before a stop sequence, and says why."""
        choice = create(client, stop=stop, max_tokens=10).choices[0]

        assert choice.text == {"g": "def", "fgh": "de"}.get(stop if isinstance(stop, str) else stop[-1], "def")
        assert choice.finish_reason == "stop"

    def test_end_of_text(self, client: OpenAI) -> None:
        """A text that ends by itself ends with `stop`, and its end counts as a token but is not shown."""
        completion = create(client, prompt="7", max_tokens=10)

        assert (completion.choices[0].text, completion.choices[0].finish_reason) == ("89.", "stop")
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 4

    def test_logit_bias(self, client: OpenAI) -> None:
        """A bias of 100 forces a token, one of -100 bans it."""
        assert create(client, logit_bias={ord("?"): 100}).choices[0].text == "???"
        assert create(client, logit_bias={ord("d"): -100}).choices[0].text == "efg"

    def test_penalties(self, client: OpenAI) -> None:
        """Penalties keep tokens from coming again, by their presence or by their number."""
        forced = {ord("x"): 100, ord("q"): 99}

        assert create(client, logit_bias=forced, max_tokens=4).choices[0].text == "xxxx"
        assert create(client, logit_bias=forced, max_tokens=4, presence_penalty=2).choices[0].text == "xqxx"
        assert create(client, logit_bias=forced, max_tokens=4, frequency_penalty=2).choices[0].text == "xqxq"

    def test_temperature_and_top_p(self, client: OpenAI) -> None:
        """Temperature spreads the choice, and `top_p` 0 narrows it to one token."""
        assert create(client, temperature=2, seed=1, max_tokens=20).choices[0].text != "defghijklmnopqrstuvw"
        assert create(client, temperature=2, top_p=0, max_tokens=20).choices[0].text == "defghijklmnopqrstuvw"

    def test_best_of(self, client: OpenAI) -> None:
        """`best_of` returns the candidates with the highest mean log-probability; usage counts all of them."""
        every = create(client, n=8, seed=5, temperature=1, max_tokens=6, logprobs=0).choices
        means = {c.text: sum(c.logprobs.token_logprobs) / 6 for c in every}  # type: ignore[union-attr, arg-type]
        ranked = sorted(means, key=lambda text: means[text], reverse=True)

        best = create(client, n=2, best_of=8, seed=5, temperature=1, max_tokens=6)

        assert [choice.text for choice in best.choices] == ranked[:2]
        assert [choice.logprobs for choice in best.choices] == [None, None]
        assert best.usage is not None
        assert best.usage.completion_tokens == 48

    def test_nulls(self, http: httpx2.Client) -> None:
        """Null means the default wherever the reference allows it."""
        optional = ("best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n", "prompt")
        more = ("presence_penalty", "seed", "stop", "stream", "stream_options", "suffix", "temperature", "top_p")

        response = http.post("/v1/completions", json={"model": MODEL} | dict.fromkeys(optional + more))

        assert response.status_code == 200
        assert response.json()["usage"]["completion_tokens"] <= 16

    def test_accepted_without_effect(self, client: OpenAI) -> None:
        """A tag for the end user is taken."""
        assert create(client, user="somebody").choices[0].text == "def"

    @pytest.mark.parametrize(
        ("params", "param", "code"),
        [
            ({"suffix": "end"}, "suffix", "unsupported_parameter"),
            ({"n": 0}, "n", "integer_below_min_value"),
            ({"n": 129}, "n", "integer_above_max_value"),
            ({"n": 1.0}, "n", "invalid_type"),
            ({"n": True}, "n", "invalid_type"),
            ({"best_of": 21}, "best_of", "integer_above_max_value"),
            ({"best_of": -1}, "best_of", "integer_below_min_value"),
            ({"best_of": 2, "n": 3}, "best_of", "invalid_value"),
            ({"best_of": 0}, "best_of", "invalid_value"),
            ({"best_of": 2, "stream": True}, "best_of", "invalid_value"),
            ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
            ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
            ({"logprobs": True}, "logprobs", "invalid_type"),
            ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
            ({"temperature": "hot"}, "temperature", "invalid_type"),
            ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
            ({"presence_penalty": 2.5}, "presence_penalty", "decimal_above_max_value"),
            ({"frequency_penalty": -2.5}, "frequency_penalty", "decimal_below_min_value"),
            ({"logit_bias": {"5": 101}}, "logit_bias.5", "integer_above_max_value"),
            ({"logit_bias": {"five": 1}}, "logit_bias", "invalid_value"),
            ({"logit_bias": {"300": 1}}, "logit_bias", "invalid_value"),
            ({"logit_bias": [1]}, "logit_bias", "invalid_type"),
            ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
            ({"stop": []}, "stop", "empty_array"),
            ({"stop": ""}, "stop", "empty_string"),
            ({"stop": 5}, "stop", "invalid_type"),
            ({"seed": "1"}, "seed", "invalid_type"),
            ({"stream": "yes"}, "stream", "invalid_type"),
            ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
            ({"user": 5}, "user", "invalid_type"),
            ({"model": 5}, "model", "invalid_type"),
            ({"extra_body": {"top_k": 5}}, "top_k", "unknown_parameter"),
            ({"extra_body": {"user": None}}, "user", "invalid_type"),
        ],
    )
    def test_refused(self, client: OpenAI, params: dict[str, Any], param: str, code: str) -> None:
        """What is out of range, of the wrong type, unknown or cannot be honoured is refused by name."""
        assert refusal(client, **params)[:2] == (param, code)

    def test_messages(self, client: OpenAI) -> None:
        """The words of a refusal are those of the service."""
        messages = [
            refusal(client, temperature=200)[2],
            refusal(client, stream_options={"include_usage": True})[2],
            refusal(client, extra_body={"top_k": 5})[2],
            refusal(client, n="2")[2],
            refusal(client, stop=["a"] * 5)[2],
        ]

        assert messages == [
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 200 instead.",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "Unknown parameter: 'top_k'.",
            "Invalid type for 'n': expected an integer, but got a string instead.",
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 "
            "instead.",
        ]


class TestLogprobs:
    """Log-probabilities, with and without echo."""

    def test_generated(self, client: OpenAI) -> None:
        """Each token comes with its log-probability, the likeliest alternatives and its place after the prompt."""
        logprobs = create(client, logprobs=2).choices[0].logprobs

        assert logprobs is not None
        assert logprobs.tokens == ["d", "e", "f"]
        assert logprobs.text_offset == [3, 4, 5]
        assert [list(top) for top in logprobs.top_logprobs or ()] == [["d", "e"], ["e", "f"], ["f", "g"]]
        assert logprobs.token_logprobs == [
            top[token] for top, token in zip(logprobs.top_logprobs or (), "def", strict=True)
        ]

    def test_sampled_token_is_included(self, client: OpenAI) -> None:
        """A token that is not among the alternatives stands behind them."""
        logprobs = create(client, logprobs=2, logit_bias={ord("?"): 100}, max_tokens=1).choices[0].logprobs

        assert logprobs is not None
        assert logprobs.top_logprobs is not None
        assert list(logprobs.top_logprobs[0]) == ["d", "e", "?"]

    def test_zero(self, client: OpenAI) -> None:
        """With `logprobs` 0 the tokens have log-probabilities and no alternatives."""
        logprobs = create(client, logprobs=0).choices[0].logprobs

        assert logprobs is not None
        assert logprobs.tokens == ["d", "e", "f"]
        assert all(value is not None and value < 0 for value in logprobs.token_logprobs or ())
        assert logprobs.top_logprobs == [{}, {}, {}]

    def test_bytes(self, client: OpenAI) -> None:
        """Tokens that are not whole characters are shown as bytes, at the place of their character."""
        choice = create(client, prompt="é&", logprobs=0).choices[0]

        assert choice.text == "éa"
        assert choice.logprobs is not None
        assert choice.logprobs.tokens == ["bytes:\\xc3", "bytes:\\xa9", "a"]
        assert choice.logprobs.text_offset == [2, 2, 3]

    def test_echo(self, client: OpenAI) -> None:
        """Echo puts the prompt before the text."""
        assert create(client, prompt="abc", echo=True).choices[0].text == "abcdef"
        assert create(client, prompt=list(b"xyz"), echo=True).choices[0].text == "xyzabc"

    def test_echo_with_logprobs(self, client: OpenAI) -> None:
        """Echoed tokens are scored; the first has no log-probability."""
        choice = create(client, echo=True, logprobs=1, max_tokens=2).choices[0]

        logprobs = choice.logprobs
        assert logprobs is not None
        assert choice.text == "abcde"
        assert logprobs.tokens == list("abcde")
        assert logprobs.text_offset == [0, 1, 2, 3, 4]
        assert logprobs.token_logprobs is not None
        assert logprobs.token_logprobs[0] is None
        assert all(value < 0 for value in logprobs.token_logprobs[1:])
        assert logprobs.top_logprobs is not None
        assert logprobs.top_logprobs[0] is None
        assert [list(top) for top in logprobs.top_logprobs[1:]] == [["b"], ["c"], ["d"], ["e"]]

    def test_scoring(self, client: OpenAI) -> None:
        """Echo with `max_tokens` 0 scores prompts and generates nothing."""
        completion = create(client, prompt=["abq", "wxyz"], echo=True, logprobs=0, max_tokens=0, n=2)

        assert [choice.text for choice in completion.choices] == ["abq", "abq", "wxyz", "wxyz"]
        assert {choice.finish_reason for choice in completion.choices} == {"length"}
        scores = [choice.logprobs.token_logprobs for choice in completion.choices if choice.logprobs]
        assert [len(score or ()) for score in scores] == [3, 3, 4, 4]
        assert scores[0] == scores[1]
        assert scores[0] is not None
        assert scores[0][2] < scores[0][1] < 0
        assert completion.usage is not None
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (7, 0)

    def test_zero_tokens_without_echo(self, client: OpenAI) -> None:
        """`max_tokens` 0 alone gives an empty text."""
        choice = create(client, max_tokens=0).choices[0]

        assert (choice.text, choice.finish_reason) == ("", "length")

    def test_echo_of_the_start_of_a_document(self, client: OpenAI) -> None:
        """A token that stands for no text of the prompt is scored at its beginning."""
        logprobs = create(client, prompt="", echo=True, logprobs=0, max_tokens=1).choices[0].logprobs

        assert logprobs is not None
        assert logprobs.tokens == ["<|endoftext|>", "A"]
        assert logprobs.text_offset == [0, 0]

    def test_probabilities(self, client: OpenAI) -> None:
        """Log-probabilities are of the model itself, whatever temperature and bias do to the choice."""
        plain = create(client, logprobs=1, max_tokens=1).choices[0].logprobs
        bent = create(client, logprobs=1, max_tokens=1, temperature=2, logit_bias={ord("d"): 50}).choices[0].logprobs

        assert plain is not None
        assert bent is not None
        assert plain.token_logprobs == bent.token_logprobs
        assert 0 < math.exp((plain.token_logprobs or [0])[0]) < 1


class TestStream:
    """Server-sent events."""

    def test_events(self, client: OpenAI) -> None:
        """Each event brings what the choice gained; a closing one brings the reason and no text."""
        events = stream(client)

        assert [event.choices[0].text for event in events] == ["d", "e", "f", ""]
        assert [event.choices[0].finish_reason for event in events] == [None, None, None, "length"]
        assert len({(event.id, event.created, event.model, event.system_fingerprint) for event in events}) == 1
        assert all("usage" not in event.to_dict() for event in events)

    def test_frames(self, http: httpx2.Client) -> None:
        """Events are `data:` lines with a blank line between, ended by `[DONE]`."""
        body = {"model": MODEL, "prompt": "abc", "temperature": 0, "max_tokens": 2, "stream": True}

        response = http.post("/v1/completions", json=body)

        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["openai-model"] == MODEL
        assert response.headers["cache-control"] == "no-cache, must-revalidate"
        frames = response.text.split("\n\n")
        assert [frame[:7] for frame in frames[:-2]] == ["data: {"] * 3
        assert frames[-2:] == ["data: [DONE]", ""]

    def test_usage(self, client: OpenAI) -> None:
        """With `include_usage` one more event without choices has the usage, and all others have it as null."""
        events = stream(client, prompt=["abc", "7"], n=2, stream_options={"include_usage": True})

        assert all(event.to_dict()["usage"] is None for event in events[:-1])
        assert events[-1].choices == []
        assert events[-1].usage is not None
        assert (events[-1].usage.prompt_tokens, events[-1].usage.completion_tokens) == (4, 12)

    def test_obfuscation_is_accepted(self, client: OpenAI) -> None:
        """Obfuscation may be asked for or not; none is sent."""
        events = stream(client, stream_options={"include_obfuscation": True})

        assert all("obfuscation" not in event.to_dict() for event in events)

    def test_choices_interleave(self, client: OpenAI) -> None:
        """The events of several prompts and samples come as they are ready, each with its index."""
        texts: defaultdict[int, str] = defaultdict(str)
        reasons: defaultdict[int, list[str]] = defaultdict(list)
        for event in stream(client, prompt=["abc", "7"], n=2, max_tokens=10):
            for choice in event.choices:
                texts[choice.index] += choice.text
                reasons[choice.index] += [choice.finish_reason] if choice.finish_reason else []

        assert texts == {0: "defghijklm", 1: "defghijklm", 2: "89.", 3: "89."}
        assert reasons == {0: ["length"], 1: ["length"], 2: ["stop"], 3: ["stop"]}

    def test_stop_never_leaks(self, client: OpenAI) -> None:
        """No event shows the beginning of a stop sequence that is completed later."""
        events = stream(client, stop="fgh", max_tokens=10)

        assert "".join(event.choices[0].text for event in events) == "de"
        assert events[-1].choices[0].finish_reason == "stop"

    def test_whole_characters(self, client: OpenAI) -> None:
        """A character of several tokens comes in one event."""
        assert [event.choices[0].text for event in stream(client, prompt="&")] == ["é", "a", ""]

    def test_echo_with_logprobs(self, client: OpenAI) -> None:
        """The first event of each choice brings the prompt, with the scores of all its tokens."""
        firsts: dict[int, Completion] = {}
        for event in stream(client, echo=True, logprobs=1, n=3):
            firsts.setdefault(event.choices[0].index, event)

        assert sorted(firsts) == [0, 1, 2]
        for event in firsts.values():
            choice = event.choices[0]
            assert choice.text == "abcd"
            assert choice.logprobs is not None
            assert choice.logprobs.tokens == ["a", "b", "c", "d"]
            assert choice.logprobs.text_offset == [0, 1, 2, 3]

    def test_offsets_go_on(self, client: OpenAI) -> None:
        """Text offsets count on from event to event."""
        events = stream(client, logprobs=0)

        assert [event.choices[0].logprobs.text_offset for event in events[:-1] if event.choices[0].logprobs] == [
            [3],
            [4],
            [5],
        ]

    def test_scoring(self, client: OpenAI) -> None:
        """With `max_tokens` 0 a stream echoes the prompt and ends."""
        events = stream(client, echo=True, max_tokens=0)

        assert [(event.choices[0].text, event.choices[0].finish_reason) for event in events] == [
            ("abc", None),
            ("", "length"),
        ]

    def test_refused_before_the_first_event(self, client: OpenAI) -> None:
        """What can be refused is refused with a status of its own, not in the middle of a stream."""
        assert refusal(client, stream=True, prompt=["abc", [1]])[1] == "invalid_type"
        assert refusal(client, stream=True, logit_bias={"300": 1})[1] == "invalid_value"

    async def test_async_client(self, async_client: AsyncOpenAI) -> None:
        """The asynchronous client reads the same stream."""
        events = await async_client.completions.create(
            model=MODEL, prompt="abc", temperature=0, max_tokens=3, stream=True
        )

        assert [event.choices[0].text async for event in events] == ["d", "e", "f", ""]


class TestEndings:
    """Clients that go away, engines that fail, queues that are full."""

    @pytest.fixture
    def slow(self, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """Run a server with one slow slot and one place to wait."""
        engine = FakeTextEngine(max_num_seqs=1, max_waiting_requests=1, step_seconds=0.02)
        with run_server(make_settings(tmp_path_factory.mktemp("slow")), engine) as running:
            yield running

    @pytest.mark.parametrize("streams", [True, False])
    def test_client_goes_away(self, slow: RunningServer, streams: bool) -> None:
        """When the client hangs up, streaming or not, its request is given up and its slot is free."""
        body = {"model": MODEL, "prompt": "abc", "max_tokens": 2000, "stream": streams}
        with httpx2.Client(base_url=slow.url) as http:
            if streams:
                with http.stream("POST", "/v1/completions", json=body) as response:
                    pieces = response.iter_bytes()
                    next(pieces)
                    assert slow.engine.stats().num_requests_running == 1
            else:
                with pytest.raises(httpx2.ReadTimeout):
                    http.post("/v1/completions", json=body, timeout=0.2)

        while slow.engine.stats().num_requests_running:
            time.sleep(0.01)
        assert create(slow.client()).choices[0].text == "def"

    def test_queue_is_full(self, slow: RunningServer) -> None:
        """A request that finds no place is told when to come again, and the official client does."""
        body = {"model": MODEL, "prompt": ["abc"] * 3, "max_tokens": 20}
        with httpx2.Client(base_url=slow.url) as http:
            response = http.post("/v1/completions", json=body)

        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert response.headers["retry-after-ms"] == "1000"
        assert response.json()["error"]["type"] == "requests"
        assert response.json()["error"]["code"] == "rate_limit_exceeded"
        while slow.engine.stats().num_requests_running:
            time.sleep(0.01)

    async def test_engine_fails_in_the_middle(self, slow: RunningServer) -> None:
        """A failure in the middle of a stream arrives as an error object, which the client raises."""
        async with slow.async_client() as client:
            events = await client.completions.create(model=MODEL, prompt="abc", max_tokens=2000, stream=True)
            texts = [(await anext(events)).choices[0].text]
            await slow.engine.close()

            with pytest.raises(APIError) as caught:
                texts += [event.choices[0].text async for event in events]

        assert caught.value.type == "server_error"
        assert "The engine was closed." in caught.value.message


class TestTimeLimit:
    """Requests that take longer than the server allows."""

    def test_status(self, tmp_path: Path) -> None:
        """They end with 504, which the official client does not try again, and later requests are answered."""
        engine = FakeTextEngine(step_seconds=0.01)
        settings = make_settings(tmp_path, request_timeout_seconds=0.2)
        with run_server(settings, engine) as server, server.client(max_retries=2) as client:
            with pytest.raises(InternalServerError) as caught:
                create(client, max_tokens=2000)
            after = create(client, max_tokens=1)

        assert (caught.value.status_code, caught.value.code, caught.value.type) == (
            504,
            "request_timeout",
            "server_error",
        )
        assert engine.stats().prompt_tokens == 6
        assert after.choices[0].text == "d"

    def test_in_a_stream(self, tmp_path: Path) -> None:
        """A stream brings what was said in time, then the error."""
        settings = make_settings(tmp_path, request_timeout_seconds=0.2)
        with run_server(settings, FakeTextEngine(step_seconds=0.01)) as server, server.client() as client:
            events = client.completions.create(model=MODEL, prompt="abc", temperature=0, max_tokens=2000, stream=True)
            first = next(iter(events))
            with pytest.raises(APIError) as caught:
                list(events)

        assert first.choices[0].text == "d"
        assert caught.value.code == "request_timeout"
