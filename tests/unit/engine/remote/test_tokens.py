"""Tokens in the forms that servers write them in."""

from typing import Any

import pytest

from openhearth.engine.remote.candidate import RemoteCandidate
from openhearth.engine.remote.tokens import TokenReader
from openhearth.engine.text.vocabulary import Vocabulary
from openhearth.errors import ServiceUnavailableError
from tests.tiny_models import VOCAB_SIZE, byte_level_tokenizer

VOCABULARY = Vocabulary(byte_level_tokenizer(), size=VOCAB_SIZE)
END_OF_TEXT = 2


def id_of(token_bytes: bytes) -> int:
    """Return the token that is exactly these bytes."""
    return VOCABULARY.token_bytes.index(token_bytes)


A, B, BROKEN = id_of(b"a"), id_of(b"b"), id_of(b"\xe2")
FORMS: dict[str, dict[str, Any]] = {
    "surface forms": {
        "tokens": ["a", r"bytes:\xe2"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [None, {"b": -2.0, r"bytes:\xe2": -0.5, "a": -1.0}],
    },
    "ids": {
        "tokens": [f"token_id:{A}", f"token_id:{BROKEN}"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [None, {f"token_id:{B}": -2.0, f"token_id:{BROKEN}": -0.5, f"token_id:{A}": -1.0}],
    },
    "objects": {
        "content": [
            {"id": A, "logprob": None, "top_logprobs": []},
            {
                "id": BROKEN,
                "logprob": -0.5,
                "top_logprobs": [{"id": B, "logprob": -2.0}, {"id": BROKEN, "logprob": -0.5}, {"id": A, "logprob": -1}],
            },
        ]
    },
}


@pytest.mark.parametrize("form", list(FORMS))
def test_forms(form: str) -> None:
    """Every form gives ids, bytes and as many alternatives as were asked for, likeliest first."""
    first, second = TokenReader(VOCABULARY).read(FORMS[form], 2)

    assert (first.token_id, first.token, first.logprob, first.top_logprobs) == (A, "a", None, ())
    assert (second.token_id, second.token_bytes, second.logprob) == (BROKEN, b"\xe2", -0.5)
    assert [(other.token_id, other.logprob) for other in second.top_logprobs] == [(BROKEN, -0.5), (A, -1.0)]


@pytest.mark.parametrize("token", ["no token of ours", f"token_id:{VOCAB_SIZE}"])
def test_another_vocabulary(token: str) -> None:
    """A token that the tokenizer does not have says that the tokenizer is the wrong one."""
    with pytest.raises(ServiceUnavailableError, match="tokenizer"):
        TokenReader(VOCABULARY).read({"tokens": [token], "token_logprobs": [-1.0]}, 0)


def tokens(*token_ids: int) -> list[Any]:
    """Return tokens as the reader does."""
    return [VOCABULARY.logprob_entry(token_id, -1.0) for token_id in token_ids]


def ids(released: tuple[Any, ...]) -> list[int]:
    """Return the ids of tokens."""
    return [token.token_id for token in released]


def candidate() -> RemoteCandidate:
    """Return a candidate that may end with the end of text."""
    return RemoteCandidate(VOCABULARY, eos_token_ids=frozenset([END_OF_TEXT]))


def test_tokens_wait_for_their_text() -> None:
    """A token is shown when the text it begins has come."""
    waiting = candidate()

    assert ids(waiting.take("", tokens(A), None)) == []
    assert ids(waiting.take("ab", tokens(B), None)) == [A, B]


def test_part_of_a_character_waits() -> None:
    """A token that is not a whole character waits for the rest."""
    waiting, rest = candidate(), [id_of(b"\x82"), id_of(b"\xac")]

    assert ids(waiting.take("", tokens(BROKEN, rest[0]), None)) == []
    assert ids(waiting.take("€", tokens(rest[1]), None)) == [BROKEN, *rest]


def test_end_of_text_is_dropped() -> None:
    """The end of text is not among the tokens."""
    assert ids(candidate().take("a", tokens(A, END_OF_TEXT), "stop")) == [A]


def test_what_a_stop_sequence_cut_off_is_dropped() -> None:
    """Tokens whose text never came are dropped at a stop, and kept where the limit of tokens ends the text."""
    assert ids(candidate().take("a", tokens(A, B), "stop")) == [A]
    assert ids(candidate().take("a", tokens(A, BROKEN), "length")) == [A, BROKEN]
