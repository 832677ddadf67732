"""Completions for another server: what the reference has no words for, and all the rest unchanged."""

from typing import Any

import httpx2
import pytest

from tests.servers import MODEL


def create(http: httpx2.Client, path: str = "/v1/extended/completions", **members: Any) -> dict[str, Any]:
    """Return the answer to a greedy request."""
    body = {"model": MODEL, "prompt": "abc", "temperature": 0, "max_tokens": 3} | members
    answer: dict[str, Any] = http.post(path, json=body).json()
    return answer


def test_without_extensions(http: httpx2.Client) -> None:
    """A request of the reference gets the answer of the reference."""
    plain = create(http, "/v1/completions", logprobs=2)["choices"]

    assert create(http, logprobs=2)["choices"] == plain


def test_tokens_by_id(http: httpx2.Client) -> None:
    """Tokens can be shown by their ids, those of the prompt and the alternatives, too."""
    logprobs = create(http, logprobs=1, echo=True, return_tokens_as_token_ids=True)["choices"][0]["logprobs"]

    assert logprobs["tokens"] == [f"token_id:{ord(letter)}" for letter in "abcdef"]
    assert logprobs["text_offset"] == [0, 1, 2, 3, 4, 5]
    assert all(name.startswith("token_id:") for top in logprobs["top_logprobs"][1:] for name in top)


def test_more_alternatives(http: httpx2.Client) -> None:
    """Twenty alternatives can be had, as for chats."""
    top = create(http, logprobs=20, return_tokens_as_token_ids=True)["choices"][0]["logprobs"]["top_logprobs"]

    assert {len(alternatives) for alternatives in top} == {20}


def test_grammar(http: httpx2.Client) -> None:
    """A completion can be held to a grammar."""
    choice = create(http, structured_outputs={"grammar": "start: /[xyz]{2}!/"}, max_tokens=20)["choices"][0]

    assert (choice["text"][-1], len(choice["text"]), choice["finish_reason"]) == ("!", 3, "stop")


def test_end_of_text(http: httpx2.Client) -> None:
    """The end of text can be forbidden to end the completion."""
    bias = {"256": 100}
    ended = create(http, logit_bias=bias)
    ignored = create(http, logit_bias=bias, ignore_eos=True)

    assert (ended["choices"][0]["finish_reason"], ignored["choices"][0]["finish_reason"]) == ("stop", "length")
    assert ignored["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("member", ["ignore_eos", "return_tokens_as_token_ids", "structured_outputs"])
def test_not_in_the_reference(http: httpx2.Client, member: str) -> None:
    """The route of the reference knows none of it."""
    assert create(http, "/v1/completions", **{member: True})["error"]["param"] == member
