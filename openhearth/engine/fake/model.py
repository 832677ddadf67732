"""A language model over bytes, small enough to predict by hand.

Tokens 0 to 255 are bytes and 256 is the end of text. The model looks at the last token alone and likes its successor
best: the next letter (after z comes a), the next digit (after 9 a full stop, then the end of text), é after an
ampersand, A at the start of a document, and a after anything else. What lies further behind the successor is less
likely, step by step. A prompt with something in «angle quotes» is answered with what stands in the last of them.
Leaves sampling to `candidate.py`.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from openhearth.engine.base import TokenLogprob

END_OF_TEXT = 256
VOCABULARY_SIZE = 257

FloatArray = npt.NDArray[np.float64]


def _successors() -> dict[int, int]:
    pairs = [("a", "z"), ("A", "Z"), ("0", "9")]
    successors = {token: token + 1 for first, last in pairs for token in range(ord(first), ord(last))}
    return successors | {
        ord("z"): ord("a"),
        ord("Z"): ord("A"),
        ord("9"): ord("."),
        ord("."): END_OF_TEXT,
        ord("&"): 0xC3,
        0xC3: 0xA9,
        END_OF_TEXT: ord("A"),
    }


_SUCCESSORS = _successors()
_RELATIVE_LOGITS = -np.arange(VOCABULARY_SIZE, dtype=np.float64) / 16
_RELATIVE_LOGITS[0] = 3.0


def logits(last_token_id: int, shift: int = 0, *, expected: Sequence[int] = ()) -> FloatArray:
    """Return the logits, `[VOCABULARY_SIZE]`, of what follows a token, or of what is `expected` instead.

    An adapter shifts what is liked best.
    """
    successor = expected[0] if expected else _SUCCESSORS.get(last_token_id, ord("a"))
    return np.roll(_RELATIVE_LOGITS, successor + shift)


def log_softmax(values: FloatArray) -> FloatArray:
    """Return the log-probabilities that belong to logits."""
    shifted = values - values.max()
    result: FloatArray = shifted - np.log(np.exp(shifted).sum())
    return result


def token_bytes(token_id: int) -> bytes:
    """Return what a token stands for; the end of text stands for its own name."""
    return b"<|endoftext|>" if token_id == END_OF_TEXT else bytes([token_id])


def token_logprob(token_id: int, logprobs: FloatArray | None, num_alternatives: int = 0) -> TokenLogprob:
    """Describe a token, with its most likely alternatives; without `logprobs` nothing precedes it."""
    raw = token_bytes(token_id)
    if logprobs is None:
        return TokenLogprob(_surface(raw), token_id, raw, None)
    best = np.argsort(-logprobs, kind="stable")[:num_alternatives] if num_alternatives else ()
    alternatives = tuple(token_logprob(int(other), logprobs) for other in best)
    return TokenLogprob(_surface(raw), token_id, raw, float(logprobs[token_id]), alternatives)


def prompt_logprobs(prompt: tuple[int, ...], num_alternatives: int, shift: int = 0) -> tuple[TokenLogprob, ...]:
    """Score every token of a prompt; nothing precedes the first."""
    scored = (
        token_logprob(token_id, log_softmax(logits(last, shift)), num_alternatives)
        for last, token_id in pairwise(prompt)
    )
    return (token_logprob(prompt[0], None), *scored)


def _surface(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
