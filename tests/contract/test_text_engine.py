"""What every text engine promises, whatever it computes with.

To put another engine under this suite, add it to `BUILDERS`: a function that takes the limits of `EngineBuilder` and
returns the engine.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

import pytest

from openhearth.engine.base import GenerationOutput, SamplingParams, TextEngine, TokenLogprob
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.engine.remote.config import RemoteConfig
from openhearth.engine.remote.engine import RemoteTextEngine
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.engine import OpenVINOTextEngine
from openhearth.errors import (
    BadRequestError,
    ContextLengthExceededError,
    OpenHearthError,
    RateLimitError,
    UnsupportedParameterError,
)
from openhearth.logs import configure_logging
from tests.servers import MODEL, make_settings, run_server
from tests.tiny_models import build_tiny_model


class EngineBuilder(Protocol):
    """Makes an engine with small limits."""

    def __call__(
        self, *, max_model_len: int = 512, max_num_seqs: int = 8, max_waiting_requests: int = 64
    ) -> TextEngine:
        """Return a running engine; the suite closes it."""
        ...


def build_fake(*, max_model_len: int = 512, max_num_seqs: int = 8, max_waiting_requests: int = 64) -> TextEngine:
    """Build the engine that needs no weights."""
    return FakeTextEngine(
        max_model_len=max_model_len, max_num_seqs=max_num_seqs, max_waiting_requests=max_waiting_requests
    )


@cache
def tiny_model() -> Path:
    """Return a decoder with random weights, made once."""
    return build_tiny_model(Path(mkdtemp(prefix="openhearth-test-")))


def build_openvino(*, max_model_len: int = 512, max_num_seqs: int = 8, max_waiting_requests: int = 64) -> TextEngine:
    """Build the CPU engine over a tiny model."""
    config = EngineConfig(
        dtype="f32",
        kv_cache_bytes=2**24,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_waiting_requests=max_waiting_requests,
    )
    return OpenVINOTextEngine(tiny_model(), config)


def build_remote(*, max_model_len: int = 512, max_num_seqs: int = 8, max_waiting_requests: int = 64) -> TextEngine:
    """Build the engine that lets another openhearth compute, with that server over the same tiny model."""
    computing = build_openvino(
        max_model_len=max_model_len, max_num_seqs=max_num_seqs, max_waiting_requests=max_waiting_requests
    )
    return EngineWithServer(computing, max_model_len=max_model_len)


class EngineWithServer(RemoteTextEngine):
    """A remote engine that ends its server when it is closed."""

    def __init__(self, computing: TextEngine, *, max_model_len: int) -> None:
        self._servers = ExitStack()
        server = self._servers.enter_context(run_server(make_settings(Path(mkdtemp())), computing))
        super().__init__(
            RemoteConfig(
                base_url=f"{server.url}/v1/extended",
                model=MODEL,
                tokenizer=tiny_model(),
                dialect="vllm",
                max_model_len=max_model_len,
            )
        )

    async def close(self) -> None:
        """Close the connections, then the server."""
        await super().close()
        await asyncio.to_thread(self._servers.close)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    """Keep the access log of the servers behind remote engines out of the tests' output."""
    configure_logging("error", "json")


BUILDERS: dict[str, EngineBuilder] = {"fake": build_fake, "openvino": build_openvino, "remote": build_remote}
PROMPT = "The quick brown fox jumps over the lazy dog and"
GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)


@pytest.fixture(params=list(BUILDERS))
async def build(request: pytest.FixtureRequest) -> AsyncIterator[EngineBuilder]:
    """Give the builder of one implementation, and close what it built."""
    engines: list[TextEngine] = []

    def build_and_remember(**limits: int) -> TextEngine:
        engines.append(BUILDERS[request.param](**limits))
        return engines[-1]

    yield build_and_remember
    for engine in engines:
        await engine.close()


@pytest.fixture
def engine(build: EngineBuilder) -> TextEngine:
    """Give an engine with the default limits."""
    return build()


async def collect(engine: TextEngine, prompt: str, params: SamplingParams) -> list[GenerationOutput]:
    """Run one request to its end."""
    return [output async for output in engine.generate(await engine.encode(prompt), params)]


def texts(outputs: list[GenerationOutput]) -> dict[int, str]:
    """Return the whole text of each candidate."""
    joined: dict[int, str] = {}
    for output in outputs:
        joined[output.index] = joined.get(output.index, "") + output.text
    return joined


def logprobs(outputs: list[GenerationOutput]) -> list[TokenLogprob]:
    """Return all log-probabilities, in order."""
    return [token for output in outputs for token in output.logprobs or ()]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds; the test's own time limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.01)


class TestTokens:
    """Text to tokens and back."""

    async def test_round_trip(self, engine: TextEngine) -> None:
        """Text comes back from its tokens, whatever its script."""
        text = "Grüße, 世界 👋"

        assert engine.decode(await engine.encode(text)).endswith(text)

    async def test_empty_text(self, engine: TextEngine) -> None:
        """The empty text is the start of a document, which can be continued."""
        outputs = await collect(engine, "", GREEDY)

        assert outputs[0].num_prompt_tokens >= 1
        assert outputs[-1].finish_reason == "length"

    async def test_suffix_without_fill_in_the_middle(self, engine: TextEngine) -> None:
        """A model without fill-in-the-middle tokens refuses a suffix by name."""
        with pytest.raises(UnsupportedParameterError) as caught:
            await engine.encode("before", suffix="after")

        assert caught.value.param == "suffix"


class TestOutputs:
    """What one request yields."""

    async def test_length(self, engine: TextEngine) -> None:
        """A completion that reaches `max_tokens` ends with `length`, and its parts add up."""
        outputs = await collect(engine, PROMPT, GREEDY)

        assert [output.finish_reason for output in outputs[:-1]] == [None] * (len(outputs) - 1)
        assert outputs[-1].finish_reason == "length"
        assert outputs[-1].num_output_tokens == 12
        assert sum(len(output.token_ids) for output in outputs) == 12
        assert outputs[0].num_prompt_tokens == len(await engine.encode(PROMPT))

    async def test_greedy_is_deterministic(self, engine: TextEngine) -> None:
        """Temperature 0 gives the same tokens every time."""
        first = await collect(engine, PROMPT, GREEDY)
        second = await collect(engine, PROMPT, GREEDY)

        assert texts(first) == texts(second)

    async def test_zero_tokens(self, engine: TextEngine) -> None:
        """With `max_tokens` 0 nothing is generated, and the one output says `length`."""
        outputs = await collect(engine, PROMPT, replace(GREEDY, max_tokens=0))

        assert [(output.text, output.finish_reason) for output in outputs] == [("", "length")]
        assert outputs[0].num_output_tokens == 0

    async def test_candidates(self, engine: TextEngine) -> None:
        """Every candidate has its own index and its own end, and the count covers them all."""
        params = SamplingParams(n=3, max_tokens=5, seed=1, ignore_eos=True)

        outputs = await collect(engine, PROMPT, params)

        assert set(texts(outputs)) == {0, 1, 2}
        assert sum(output.finish_reason == "length" for output in outputs) == 3
        assert max(output.num_output_tokens for output in outputs) == 15

    async def test_prefix_cache_tells_the_truth(self, engine: TextEngine) -> None:
        """A prompt seen before is partly cached, never whole, and a new one is not."""
        params = replace(GREEDY, max_tokens=1)
        prompt = PROMPT * 4

        first = await collect(engine, prompt, params)
        second = await collect(engine, prompt, params)

        assert first[-1].num_cached_tokens == 0
        assert 0 < second[-1].num_cached_tokens < second[-1].num_prompt_tokens


class TestStop:
    """Stop sequences."""

    async def test_text_is_cut(self, engine: TextEngine) -> None:
        """Text ends before a stop sequence, even one that spans tokens."""
        whole = texts(await collect(engine, PROMPT, GREEDY))[0]
        stop = whole[3:6]

        outputs = await collect(engine, PROMPT, replace(GREEDY, stop=("never in there", stop), logprobs=0))

        assert texts(outputs)[0] == whole[: whole.index(stop)]
        assert outputs[-1].finish_reason == "stop"
        assert len(logprobs(outputs)) <= outputs[-1].num_output_tokens

    async def test_no_part_leaks(self, engine: TextEngine) -> None:
        """While a stop sequence may still be completed, its beginning is held back."""
        whole = texts(await collect(engine, PROMPT, GREEDY))[0]

        outputs = await collect(engine, PROMPT, replace(GREEDY, stop=(whole[2:] + "x",)))

        assert texts(outputs)[0] == whole
        assert sum(len(output.token_ids) for output in outputs) == 12
        before_the_last_token = [output for output in outputs if output.num_output_tokens < 12]
        assert max(len(texts(before_the_last_token).get(0, "")), 2) == 2


class TestSampling:
    """Choosing the next token."""

    async def test_seed(self, engine: TextEngine) -> None:
        """A seed reproduces its tokens, alone or beside other requests."""
        params = SamplingParams(seed=7, max_tokens=12, ignore_eos=True)
        alone = await collect(engine, PROMPT, params)

        busy = await asyncio.gather(*(collect(engine, PROMPT, replace(params, seed=seed)) for seed in (7, 8, 9)))

        assert texts(busy[0]) == texts(alone)
        assert len({texts(outputs)[0] for outputs in busy}) == 3

    async def test_logit_bias_forces(self, engine: TextEngine) -> None:
        """A bias of 100 forces a token, and one of -100 bans it."""
        greedy = (await collect(engine, PROMPT, replace(GREEDY, max_tokens=1)))[0].token_ids[0]
        other = next(token_id for token_id in await engine.encode("x y z") if token_id != greedy)

        forced = await collect(engine, PROMPT, replace(GREEDY, logit_bias={other: 100.0}))
        banned = await collect(engine, PROMPT, replace(GREEDY, logit_bias={greedy: -100.0}))

        assert {token_id for output in forced for token_id in output.token_ids} == {other}
        assert greedy not in {token_id for output in banned for token_id in output.token_ids}

    @pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
    async def test_penalties(self, engine: TextEngine, name: str) -> None:
        """Between two tokens that are forced equally, a penalty turns to the one that is not there yet."""
        params = replace(GREEDY, max_tokens=60, temperature=1.0, seed=5)
        words = [(await engine.encode(text))[-1] for text in ("x", "y")]
        spread = []
        for penalty in (-2.0, 2.0):
            biased = replace(params, logit_bias=dict.fromkeys(words, 100.0))
            biased = replace(biased, **{name: penalty})  # type: ignore[arg-type]
            chosen = [token_id for output in await collect(engine, PROMPT, biased) for token_id in output.token_ids]
            spread.append(abs(chosen.count(words[0]) - chosen.count(words[1])))

        assert spread[1] <= spread[0]

    async def test_top_p_zero_is_greedy(self, engine: TextEngine) -> None:
        """With `top_p` 0 the likeliest token alone is left."""
        sampled = await collect(engine, PROMPT, replace(GREEDY, temperature=1.0, top_p=0.0))

        assert texts(sampled) == texts(await collect(engine, PROMPT, GREEDY))


class TestLogprobs:
    """Log-probabilities of generated and of prompt tokens."""

    async def test_generated(self, engine: TextEngine) -> None:
        """Each token comes with its log-probability and the asked number of alternatives, likeliest first."""
        outputs = await collect(engine, PROMPT, replace(GREEDY, logprobs=5))

        tokens = logprobs(outputs)
        assert [token.token_id for token in tokens] == [t for output in outputs for t in output.token_ids]
        assert all(len(token.top_logprobs) == 5 for token in tokens)
        assert all(token.top_logprobs[0].token_id == token.token_id for token in tokens)
        assert all((token.logprob or 0.0) == token.top_logprobs[0].logprob for token in tokens)
        assert b"".join(token.token_bytes for token in tokens).decode(errors="replace") == texts(outputs)[0]

    async def test_none_and_zero(self, engine: TextEngine) -> None:
        """`None` gives no log-probabilities, and 0 the sampled token's alone."""
        without = await collect(engine, PROMPT, GREEDY)
        zero = await collect(engine, PROMPT, replace(GREEDY, logprobs=0))

        assert {output.logprobs for output in without} == {None}
        assert all(token.top_logprobs == () and token.logprob is not None for token in logprobs(zero))

    async def test_of_the_model_itself(self, engine: TextEngine) -> None:
        """Temperature and bias do not change the log-probabilities that are reported."""
        plain = logprobs(await collect(engine, PROMPT, replace(GREEDY, max_tokens=1, logprobs=3)))[0]
        greedy = plain.token_id

        bent = replace(GREEDY, max_tokens=1, logprobs=3, temperature=2.0, logit_bias={greedy: 90.0})
        reported = logprobs(await collect(engine, PROMPT, bent))[0]

        assert reported.token_id == greedy
        assert reported.logprob == pytest.approx(plain.logprob, abs=1e-3)

    async def test_prompt(self, engine: TextEngine) -> None:
        """Every prompt token is scored, once; the first has no log-probability."""
        params = replace(GREEDY, max_tokens=0, prompt_logprobs=2)
        prompt = await engine.encode(PROMPT)

        [output] = [output async for output in engine.generate(prompt, params)]

        scores = output.prompt_logprobs or ()
        assert [score.token_id for score in scores] == prompt
        assert (scores[0].logprob, scores[0].top_logprobs) == (None, ())
        assert all(score.logprob is not None and len(score.top_logprobs) == 2 for score in scores[1:])

    async def test_prompt_score_equals_generated(self, engine: TextEngine) -> None:
        """A token scores the same in a prompt as when it is generated."""
        prompt = await engine.encode(PROMPT)
        generated = logprobs([o async for o in engine.generate(prompt, replace(GREEDY, max_tokens=4, logprobs=0))])

        again = replace(GREEDY, max_tokens=1, prompt_logprobs=0)
        whole = prompt + [token.token_id for token in generated]
        outputs = [output async for output in engine.generate(whole, again)]

        scores = [score.logprob for score in (outputs[0].prompt_logprobs or ())[len(prompt) :]]
        assert scores == pytest.approx([token.logprob for token in generated], abs=2e-2)
        assert all(output.prompt_logprobs is None for output in outputs[1:])

    async def test_prompt_logprobs_come_with_candidate_0(self, engine: TextEngine) -> None:
        """Of several candidates only the first brings the scores of the prompt."""
        params = SamplingParams(n=2, max_tokens=2, prompt_logprobs=0, seed=1, ignore_eos=True)

        outputs = await collect(engine, PROMPT, params)

        assert [output.index for output in outputs if output.prompt_logprobs] == [0]


class TestGrammar:
    """Completions that have to follow a grammar."""

    async def test_regular_expression(self, engine: TextEngine) -> None:
        """A completion follows the grammar to its end, and then stops, however unlikely that was."""
        params = replace(GREEDY, max_tokens=64, grammar="start: /[xyz]{5}-(true|false)/", ignore_eos=False)

        outputs = await collect(engine, PROMPT, params)

        assert re.fullmatch("[xyz]{5}-(true|false)", texts(outputs)[0])
        assert outputs[-1].finish_reason == "stop"

    async def test_json_schema(self, engine: TextEngine) -> None:
        """Each candidate is a value of the schema, at any temperature."""
        schema = {
            "type": "object",
            "properties": {"a": {"enum": [1, "two", None]}},
            "required": ["a"],
            "additionalProperties": False,
            "x-guidance": {"whitespace_flexible": False},
        }
        grammar = f"start: %json {json.dumps(schema)}"
        params = SamplingParams(n=4, max_tokens=64, temperature=2.0, seed=1, grammar=grammar)

        outputs = await collect(engine, PROMPT, params)

        assert all(json.loads(text)["a"] in (1, "two", None) for text in texts(outputs).values())
        assert sum(output.finish_reason == "stop" for output in outputs) == 4

    async def test_cut_by_length(self, engine: TextEngine) -> None:
        """The limit of tokens holds within a grammar, too."""
        outputs = await collect(engine, PROMPT, replace(GREEDY, max_tokens=3, grammar="start: /x{100}/"))

        assert set(texts(outputs)[0]) == {"x"}
        assert outputs[-1].finish_reason == "length"

    async def test_bad_grammar(self, engine: TextEngine) -> None:
        """What is no grammar is refused before the first output."""
        with pytest.raises(BadRequestError):
            await anext(engine.generate(await engine.encode(PROMPT), replace(GREEDY, grammar="start: missing")))


class TestChat:
    """Prompts made of messages."""

    async def test_render_chat(self, engine: TextEngine) -> None:
        """Messages become a prompt that holds them in their order and asks for an answer."""
        messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Grüße!"}]

        text = engine.decode(await engine.render_chat(messages))

        assert 0 <= text.index("Be kind.") < text.index("Grüße!") < text.rindex("assistant")

    async def test_tools_are_explained(self, engine: TextEngine) -> None:
        """A model whose template knows nothing of tools is told about them, and what came of them."""
        tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
        call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": {"word": "hearth"}}}
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "What is a hearth?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "A fireplace."},
        ]

        text = engine.decode(await engine.render_chat(messages, tools=[tool]))

        assert '"name": "look_up", "parameters"' in text
        begin, end = engine.tool_call_format.begin, engine.tool_call_format.end
        assert f'{begin}\n{{"name": "look_up", "arguments": {{"word": "hearth"}}}}\n{end}' in text
        assert "A fireplace." in text


class TestRefusals:
    """Errors come before the first output."""

    async def test_token_out_of_vocabulary(self, engine: TextEngine) -> None:
        """A token that the model does not have is refused, in a prompt, in a bias and in decoding."""
        params = []
        for token_ids, bias in (([10**9], {}), ([-1], {}), ([1], {10**9: 1.0})):
            with pytest.raises(BadRequestError) as caught:
                await anext(engine.generate(token_ids, replace(GREEDY, logit_bias=bias)))
            params.append(caught.value.param)
        with pytest.raises(BadRequestError) as caught:
            engine.decode([10**9])

        assert [*params, caught.value.param] == ["prompt", "prompt", "logit_bias", "prompt"]

    async def test_context_length(self, engine: TextEngine) -> None:
        """Prompt and completion together must fit into the context, and may fill it."""
        prompt = (await engine.encode("word")) * engine.max_model_len
        room = engine.max_model_len - 4

        with pytest.raises(ContextLengthExceededError):
            await anext(engine.generate(prompt[:room], replace(GREEDY, max_tokens=5)))
        outputs = [output async for output in engine.generate(prompt[:room], replace(GREEDY, max_tokens=4))]

        assert outputs[-1].num_output_tokens == 4

    async def test_full_queue(self, build: EngineBuilder) -> None:
        """A request that finds the queue full is turned away with a time to try again; the others finish."""
        engine = build(max_num_seqs=1, max_waiting_requests=1)
        params = replace(GREEDY, max_tokens=40)

        results = await asyncio.gather(*(collect(engine, PROMPT, params) for _ in range(8)), return_exceptions=True)

        refused = [result for result in results if isinstance(result, RateLimitError)]
        assert refused
        assert all(error.retry_after_seconds > 0 for error in refused)
        assert all(isinstance(result, RateLimitError | list) for result in results)
        assert len(refused) < 8


class TestLifetime:
    """Slots, cancellation and closing."""

    async def test_closing_the_iterator_frees_the_slot(self, build: EngineBuilder) -> None:
        """A request given up in the middle, running or waiting, leaves no trace."""
        engine = build(max_num_seqs=1, max_waiting_requests=4)
        prompt = await engine.encode(PROMPT)
        running = engine.generate(prompt, replace(GREEDY, max_tokens=400))
        await anext(running)
        waiting = asyncio.create_task(collect(engine, PROMPT, GREEDY))
        await eventually(lambda: engine.stats().num_requests_waiting == 1)

        waiting.cancel()
        await running.aclose()

        await eventually(lambda: engine.stats().num_requests_running == 0)
        await eventually(lambda: engine.stats().num_requests_waiting == 0)
        assert (await collect(engine, PROMPT, GREEDY))[-1].finish_reason == "length"

    async def test_stats_count_tokens(self, engine: TextEngine) -> None:
        """The counters grow by the tokens of the prompt and of the completion."""
        before = engine.stats()

        outputs = await collect(engine, PROMPT, GREEDY)

        after = engine.stats()
        assert after.generation_tokens - before.generation_tokens == 12
        assert after.prompt_tokens - before.prompt_tokens == outputs[0].num_prompt_tokens

    async def test_closing_the_engine_ends_requests(self, engine: TextEngine) -> None:
        """Requests that run while the engine is closed end with an error instead of hanging."""
        running = engine.generate(await engine.encode(PROMPT), replace(GREEDY, max_tokens=400))
        await anext(running)

        await engine.close()

        with pytest.raises(OpenHearthError):
            [output async for output in running]
