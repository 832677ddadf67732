"""Choices as they are written: echo, log-probabilities, offsets."""

from openhearth.engine.base import TokenLogprob
from openhearth.services.completion_choices import ChoiceWriter, Prompt, finite


def token(text: bytes, logprob: float | None = -1.0, *others: TokenLogprob) -> TokenLogprob:
    """Return a token with its log-probability."""
    return TokenLogprob(text.decode(errors="backslashreplace"), 1, text, logprob, others)


def test_tokens_before_the_text() -> None:
    """A token that a model wants before each prompt is no part of the text: all others keep their places."""
    writer = ChoiceWriter(0, Prompt([0, 1, 2], "Hi you"), echo=True, has_logprobs=True)

    choice = writer.write(
        "!", (token(b"!"),), prompt_tokens=(token(b"<s>", None), token(b"Hi"), token(b" you")), finish_reason="stop"
    )

    assert choice.text == "Hi you!"
    assert choice.logprobs is not None
    assert choice.logprobs.text_offset == [0, 0, 2, 6]
    assert choice.logprobs.token_logprobs == [None, -1.0, -1.0, -1.0]


def test_tokens_that_look_alike() -> None:
    """Of alternatives that look alike the likeliest one is shown, and the token itself is never missing."""
    writer = ChoiceWriter(0, Prompt([0], ""), echo=False, has_logprobs=True)
    taken = token(b"c", -3.0, token(b"a", -0.1), token(b"a", -0.5), token(b"b", -0.7))

    choice = writer.write("c", (taken,), prompt_tokens=())

    assert choice.logprobs is not None
    assert choice.logprobs.top_logprobs == [{"a": -0.1, "b": -0.7, "c": -3.0}]


def test_minus_infinity() -> None:
    """What JSON cannot say is said by a number that no model gives."""
    assert finite(float("-inf")) == -9999.0
    assert finite(None) == -9999.0
    assert finite(-2.5) == -2.5
