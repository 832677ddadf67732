"""Text comes out whole, once, and never with a piece of a stop sequence."""

from hypothesis import given
from hypothesis import strategies as st

from openhearth.engine.text.detokenizer import Detokenizer


def run(tokens: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], int, bool]:
    """Feed all tokens; return the pieces of text, how many tokens were released, and whether a stop was met."""
    detokenizer = Detokenizer(stop)
    pieces, num_tokens = [], 0
    for token in tokens:
        text, released = detokenizer.append(token)
        pieces.append(text)
        num_tokens += released
        if detokenizer.is_stopped:
            return pieces, num_tokens, True
    text, released = detokenizer.flush()
    return [*pieces, text], num_tokens + released, False


def test_characters_are_not_torn() -> None:
    """A character spread over two tokens is released with the second."""
    assert run([b"a\xe2", b"\x82\xac", b"b"]) == (["a", "€", "b", ""], 3, False)


def test_broken_bytes_at_the_end() -> None:
    """Bytes that never become a character are replaced when the text ends."""
    assert run([b"a", b"\xe2\x82"]) == (["a", "", "\ufffd"], 2, False)


def test_stop_across_tokens() -> None:
    """A stop sequence is found across tokens, and takes its tokens with it."""
    assert run([b"one", b" tw", b"o th", b"ree"], (" two",)) == (["one", "", ""], 1, True)


def test_text_before_a_stop_in_the_same_token() -> None:
    """What precedes the stop in its own token is kept, and so is the token."""
    assert run([b"ab END cd"], ("END",)) == (["ab "], 1, True)


def test_false_alarm() -> None:
    """Text held back because it might have become a stop sequence is released when it did not."""
    pieces, num_tokens, stopped = run([b"a ", b"EN", b"TER"], ("END",))

    assert (pieces, num_tokens, stopped) == (["a ", "", "ENTER", ""], 3, False)


def test_false_alarm_at_the_end() -> None:
    """Tokens held back for a stop sequence that never came are all released when the text ends."""
    assert run([b"a", b"b", b"c"], stop=("bcd",)) == (["a", "", "", "bc"], 3, False)


def test_earliest_of_several_stops() -> None:
    """Of several stop sequences the one that comes first in the text counts."""
    assert run([b"xx--yy"], ("yy", "--")) == (["xx"], 1, True)


@given(text=st.text(max_size=40), data=st.data())
def test_pieces_make_the_text(text: str, data: st.DataObject) -> None:
    """However the bytes are cut into tokens, the pieces make up the text up to the first stop sequence."""
    stop = tuple(data.draw(st.lists(st.text(min_size=1, max_size=4), max_size=4)))
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    tokens = [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    pieces, num_tokens, stopped = run(tokens, stop)

    ends = [position for sequence in stop if (position := text.find(sequence)) >= 0]
    assert "".join(pieces) == text[: min(ends, default=len(text))]
    assert stopped == bool(ends)
    assert num_tokens <= len(tokens)
    assert stopped or num_tokens == len(tokens)
