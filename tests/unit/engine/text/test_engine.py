"""The CPU engine beyond what every engine promises: grammars, failures, preemption, limits in tokens."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import jsonschema_rs
import llguidance
import pytest

from openhearth.engine.base import GenerationOutput, SamplingParams
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.engine import OpenVINOTextEngine
from openhearth.engine.text.model_runner import ModelRunner
from openhearth.errors import BadRequestError, InvalidValueError, RateLimitError, ServiceUnavailableError
from tests.tiny_models import build_tiny_model

BuildEngine = Callable[..., OpenVINOTextEngine]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"enum": ["Ada", "Grace"]},
        "tags": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
}
GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a decoder with random weights."""
    return build_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
async def build(model: Path) -> AsyncIterator[BuildEngine]:
    """Give a way to make engines, which are closed at the end."""
    engines: list[OpenVINOTextEngine] = []

    def build_and_remember(**limits: Any) -> OpenVINOTextEngine:
        config: dict[str, Any] = {"dtype": "f32", "kv_cache_bytes": 2**22} | limits
        engines.append(OpenVINOTextEngine(model, EngineConfig(**config)))
        return engines[-1]

    yield build_and_remember
    for engine in engines:
        await engine.close()


async def collect(engine: OpenVINOTextEngine, prompt: list[int], params: SamplingParams) -> list[GenerationOutput]:
    """Run one request to its end."""
    return [output async for output in engine.generate(prompt, params)]


def text(outputs: list[GenerationOutput]) -> str:
    """Return the text of candidate 0."""
    return "".join(output.text for output in outputs if output.index == 0)


class TestGrammar:
    """Completions that have to follow a grammar."""

    async def test_json_schema(self, build: BuildEngine) -> None:
        """Even a model of random weights, at any temperature, writes what validates."""
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(SCHEMA))
        params = SamplingParams(n=4, max_tokens=400, seed=3, grammar=grammar, stop=())
        engine = build()

        outputs = await collect(engine, await engine.encode("JSON:"), params)

        for index in range(4):
            candidate = [output for output in outputs if output.index == index]
            if candidate[-1].finish_reason == "stop":
                jsonschema_rs.validate(SCHEMA, json.loads("".join(output.text for output in candidate)))
        assert "stop" in {output.finish_reason for output in outputs}

    async def test_unusable_grammar(self, build: BuildEngine) -> None:
        """A grammar that cannot be compiled is the caller's error, and harms nobody else."""
        engine = build()

        with pytest.raises(BadRequestError, match="schema or grammar"):
            await collect(engine, [5], SamplingParams(grammar="%%% no grammar %%%"))

        assert len(text(await collect(engine, [5], GREEDY))) > 0


class TestDrafts:
    """Tokens that are computed ahead."""

    PROMPT: ClassVar = [5, 6, 7, 8] * 6
    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "greedy": {"temperature": 0, "logprobs": 2},
        "seeded": {"temperature": 0.7, "seed": 4, "n": 2},
        "penalised": {"temperature": 0, "frequency_penalty": 0.4, "presence_penalty": 0.2},
        "pushed": {"temperature": 0, "logit_bias": {7: 100.0}},
        "stopped": {"temperature": 0, "stop": ("e",)},
    }

    @pytest.mark.parametrize("variant", VARIANTS)
    async def test_outputs_are_the_same(self, build: BuildEngine, variant: str) -> None:
        """With and without guesses a request gets the same tokens, log-probabilities and counts."""
        values: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True} | self.VARIANTS[variant]
        params = SamplingParams(**values)
        guessing, plain = build(num_speculative_tokens=4), build(num_speculative_tokens=0)

        ahead, one_by_one = [await collect(engine, self.PROMPT, params) for engine in (guessing, plain)]

        for index in range(params.n):
            ours, expected = ([o for o in outputs if o.index == index] for outputs in (ahead, one_by_one))
            assert [t for o in ours for t in o.token_ids] == [t for o in expected for t in o.token_ids]
            assert "".join(o.text for o in ours) == "".join(o.text for o in expected)
            assert ours[-1].finish_reason == expected[-1].finish_reason
            logprobs = [[entry.logprob for o in outputs for entry in o.logprobs or ()] for outputs in (ours, expected)]
            assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-4)
        assert ahead[-1].num_output_tokens == one_by_one[-1].num_output_tokens
        assert plain.stats().spec_decode_draft_tokens == 0

    async def test_right_guesses_are_counted(self, build: BuildEngine) -> None:
        """A text that only repeats itself is guessed."""
        engine = build()

        outputs = await collect(
            engine, self.PROMPT, SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, logit_bias={7: 100.0})
        )

        stats = engine.stats()
        assert sum(len(output.token_ids) for output in outputs) == 40
        assert stats.spec_decode_draft_tokens >= stats.spec_decode_accepted_tokens > 20
        assert stats.generation_tokens == 40
        assert stats.kv_cache_usage == 0


class TestFailure:
    """A step that fails."""

    async def test_others_go_on(self, build: BuildEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests in a failed step end with an error; later ones are answered as before."""
        engine = build()
        expected = await collect(engine, [5, 6, 7], GREEDY)
        run = ModelRunner.run

        def fail_once(*_arguments: Any) -> Any:
            monkeypatch.setattr(ModelRunner, "run", run)
            raise RuntimeError("the processor caught fire")

        monkeypatch.setattr(ModelRunner, "run", fail_once)
        with pytest.raises(ServiceUnavailableError):
            await collect(engine, [5, 6, 7], GREEDY)

        assert text(await collect(engine, [5, 6, 7], GREEDY)) == text(expected)
        assert engine.stats().kv_cache_usage == 0


class TestCache:
    """Blocks that run out, and prefixes that are found again."""

    async def test_preempted_requests_give_the_same_text(self, build: BuildEngine) -> None:
        """Requests that do not fit together give way to each other, and answer as if they were alone."""
        prompts = [[10 + number, 20, 30] for number in range(6)]
        params = SamplingParams(temperature=0, max_tokens=120, ignore_eos=True)
        roomy, tight = build(), build(kv_cache_bytes=24_576 * 10, max_model_len=160)
        alone = [text(await collect(roomy, prompt, params)) for prompt in prompts]

        together = await asyncio.gather(*(collect(tight, prompt, params) for prompt in prompts))

        assert [text(outputs) for outputs in together] == alone
        assert tight.stats().num_preemptions > 0
        assert tight.stats().kv_cache_usage == 0

    async def test_cached_prefix_gives_the_same_text(self, build: BuildEngine) -> None:
        """A prompt answered from the prefix cache gets the same tokens as before."""
        engine = build()
        prompt = list(range(3, 103))

        first, second = await collect(engine, prompt, GREEDY), await collect(engine, prompt, GREEDY)

        assert text(second) == text(first)
        assert (first[0].num_cached_tokens, second[0].num_cached_tokens) == (0, 96)

    async def test_caching_can_be_switched_off(self, build: BuildEngine) -> None:
        """Without prefix caching every prompt is computed anew."""
        engine = build(enable_prefix_caching=False)
        prompt = list(range(3, 103))
        await collect(engine, prompt, GREEDY)

        assert (await collect(engine, prompt, GREEDY))[0].num_cached_tokens == 0

    async def test_128_candidates(self, build: BuildEngine) -> None:
        """A prompt has up to 128 candidates, though far fewer run at once; a seed gives all of them again."""
        engine = build(max_num_seqs=16)
        params = SamplingParams(n=128, max_tokens=3, seed=1, ignore_eos=True)

        runs = [await collect(engine, list(range(3, 43)), params) for _ in range(2)]

        texts = [sorted((output.index, output.text) for output in outputs) for outputs in runs]
        assert texts[0] == texts[1]
        assert {output.index for output in runs[0]} == set(range(128))
        assert runs[0][-1].num_output_tokens == 384


class TestLimits:
    """What an engine does not take on."""

    async def test_waiting_tokens(self, build: BuildEngine) -> None:
        """The queue is bounded in tokens too; a single long prompt is always taken."""
        engine = build(max_waiting_tokens=50)
        long = list(range(3, 63))
        running = engine.generate(long, SamplingParams(max_tokens=300, ignore_eos=True))
        await anext(running)

        with pytest.raises(RateLimitError):
            await collect(engine, long, GREEDY)
        await running.aclose()

    async def test_empty_prompt(self, build: BuildEngine) -> None:
        """A prompt without tokens is refused by name."""
        with pytest.raises(InvalidValueError) as caught:
            await collect(build(), [], GREEDY)

        assert caught.value.param == "prompt"

    async def test_long_prompts_are_scored_in_chunks(self, build: BuildEngine) -> None:
        """A prompt longer than a chunk of scored tokens is scored whole."""
        outputs = await collect(build(), [7] * 500, SamplingParams(max_tokens=0, prompt_logprobs=1))

        scores = outputs[0].prompt_logprobs or ()
        assert len(scores) == 500
        assert all(score.logprob is not None for score in scores[1:])


async def test_fill_in_the_middle(tmp_path: Path) -> None:
    """A model with markers for it takes a suffix, arranged as it was trained."""
    model = build_tiny_model(tmp_path, extra_tokens=["<fim_prefix>", "<fim_suffix>", "<fim_middle>"])
    engine = OpenVINOTextEngine(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))

    decoded = engine.decode(await engine.encode("before", suffix="after"))
    await engine.close()

    assert decoded == "<fim_prefix>before<fim_suffix>after<fim_middle>"


async def test_marks_of_tool_calls(tmp_path: Path) -> None:
    """Marks of tool calls that are tokens of their own can be forced by name, and are seen in the text."""
    model = build_tiny_model(tmp_path, extra_tokens=["<tool_call>", "</tool_call>"])
    engine = OpenVINOTextEngine(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    grammar = 'start: <tool_call> "\\n" /[xy]{3}/ "\\n" </tool_call>'
    [begin] = await engine.encode("<tool_call>")

    outputs = await collect(engine, [5], SamplingParams(max_tokens=20, seed=1, grammar=grammar))
    await engine.close()

    assert engine.tool_call_format.are_tokens
    assert outputs[0].token_ids[0] == begin
    assert re.fullmatch("<tool_call>\n[xy]{3}\n</tool_call>", text(outputs))
    assert outputs[-1].finish_reason == "stop"


async def test_several_ends_of_text(tmp_path: Path) -> None:
    """A model may end a text in several ways, also one that follows a grammar."""
    model = build_tiny_model(tmp_path)
    (model / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    engine = OpenVINOTextEngine(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    params = SamplingParams(max_tokens=20, grammar="start: /x*/", logit_bias={2: 100.0})

    outputs = await collect(engine, [5], params)
    await engine.close()

    assert (text(outputs), outputs[-1].finish_reason, outputs[-1].num_output_tokens) == ("", "stop", 1)
