"""What a remote server is asked, in its dialect."""

import pytest

from openhearth.engine.base import SamplingParams
from openhearth.engine.remote.config import Dialect
from openhearth.engine.remote.requests import continuation, scoring
from openhearth.errors import UnsupportedParameterError


def test_every_parameter_is_sent() -> None:
    """Each parameter of the reference travels under its own name."""
    params = SamplingParams(
        n=2,
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        stop=("a", "b"),
        seed=3,
        presence_penalty=0.25,
        frequency_penalty=-0.5,
        logit_bias={5: -100.0},
        logprobs=4,
    )

    body = continuation([1, 2], params, dialect="openai")

    assert body == {
        "prompt": [1, 2],
        "n": 2,
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["a", "b"],
        "seed": 3,
        "presence_penalty": 0.25,
        "frequency_penalty": -0.5,
        "logit_bias": {"5": -100},
        "logprobs": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_was_not_asked_for_is_not_sent() -> None:
    """Empty members stay away, those whose defaults differ between servers do not."""
    body = continuation([1], SamplingParams(), dialect="openai")

    assert body.keys().isdisjoint({"stop", "seed", "logit_bias"})
    assert (body["temperature"], body["top_p"], body["logprobs"]) == (1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("dialect", "extensions"),
    [
        ("vllm", {"structured_outputs": {"grammar": "start: /x/"}, "return_tokens_as_token_ids": True}),
        ("llama.cpp", {"grammar": "%llguidance {}\nstart: /x/"}),
    ],
)
def test_dialects(dialect: Dialect, extensions: dict[str, object]) -> None:
    """A grammar, and an end of text to ignore, are said in the words of the server."""
    params = SamplingParams(grammar="start: /x/", ignore_eos=True)

    body = continuation([1], params, dialect=dialect)

    assert body.items() >= ({"ignore_eos": True} | extensions).items()


@pytest.mark.parametrize("params", [SamplingParams(grammar="start: /x/"), SamplingParams(ignore_eos=True)])
def test_refusals(params: SamplingParams) -> None:
    """What the reference has no words for is refused before anything is sent."""
    with pytest.raises(UnsupportedParameterError):
        continuation([1], params, dialect="openai")


def test_scoring() -> None:
    """A prompt is scored by echoing it with nothing added; where that cannot be, `echo` is refused by name."""
    with pytest.raises(UnsupportedParameterError) as caught:
        scoring([1, 2], 3, dialect="llama.cpp")

    assert scoring([1, 2], 3, dialect="openai") == {"prompt": [1, 2], "max_tokens": 0, "echo": True, "logprobs": 3}
    assert caught.value.param == "echo"
