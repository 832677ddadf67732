"""What a prompt asks for: which things, how many, where; and what it merely says about the background.

Plain rules over words. They decide what is looked up in the bank; the network reads the prompt as it is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openhearth.engine.image.retrieval.layout import Arrangement, Extent, Layout, Place

MAX_THINGS = 4
_GLUE = "_"

_COUNTS = {
    "two": 2, "three": 3, "four": 4, "several": 3, "2": 2, "3": 3, "4": 4,
    **dict.fromkeys(("five", "six", "seven", "eight", "nine", "ten", "dozen", "many"), MAX_THINGS),
}  # fmt: skip
_EXTENTS: dict[str, Extent] = {
    **dict.fromkeys(("small", "tiny", "little"), "small"),
    **dict.fromkeys(("large", "big", "huge", "giant"), "large"),
}
_STYLES = {
    **dict.fromkeys(("3d", "glossy", "render", "rendered", "vivid"), "3d"),
    **dict.fromkeys(("flat", "cartoon", "clipart", "clip art"), "flat"),
}
_BACKGROUNDS = re.compile(
    r"\b(?:background|backdrop|meadow|grass|grassy|field|lawn|park|garden|night|starry|stars|space|sea|ocean|water|lake"
    r"|river|beach|seaside|shore|desert|sand|dunes|snow|snowy|winter|sunset|sunrise|evening|dusk|dawn|sky|clouds|forest"
    r"|woods|trees|jungle|mountains|hills|underwater|city|street|town|road|room|kitchen|floor|table|desk|rain|rainy)\b"
)
_GROUNDS = re.compile(
    r"\b(?:meadow|grass|grassy|field|lawn|park|garden|night|starry|beach|seaside|shore|desert|sand|dunes|snow|snowy"
    r"|winter|sunset|sunrise|evening|dusk|dawn|forest|woods|trees|jungle|mountains|hills|city|street|town|road|room|kitchen"
    r"|floor|table|desk|rain|rainy)\b"
)
_FRAMES = re.compile(
    r"^(?:[\w-]+ ){0,4}?(?:clip art|clipart|picture|image|photo|photograph|illustration|drawing|painting|portrait"
    r"|cartoon|icon|render|rendering|sticker|sketch|emoji|logo) (?:of|with|showing)\b"
)
_NO_THINGS = ("landscape", "scene", "empty scene")
_PLACES = re.compile(r"\b(?:on|at|in|to|from) the (left|right|top|bottom)(?: side| half| corner)?\b(?! of)")
_PREPOSITIONS = re.compile(
    r"\b(in front of|on top of|on the top of|next to|close to|on|in|at|under|underneath|below|above|over|against|among"
    r"|with|without|and|beside|near|behind|by|inside|riding|holding|eating|wearing|chasing|fighting|underwater)\b|[,;.:!?]"
)
_ABOVE, _BELOW = ("on top of", "on the top of", "above", "over", "on"), ("under", "underneath", "below")
_IDLE = frozenset(
    ("a", "an", "the", "its", "his", "her", "some", "of", "is", "are", "single", "one", "3d", "flat", "very")
)
_QUIET = ("without",)
_MANNERS = frozenset(
    (
        "colours", "colors", "light", "lighting", "realistic", "hyper-real", "photorealistic", "realism", "detailed",
        "details", "4k", "8k", "hd", "quality", "resolution", "style", "focus", "cinematic", "trending", "detail",
        "masterpiece", "mood", "artstation", "art",
    )
)  # fmt: skip
"""Words that end a remark about how to draw, such as "dramatic light"; a thing would have an article."""

_LINKS_OF_MANNERS = ("in", "on", "at")
_ARTICLES = ("a", "an", "the", "one")
_BEGINNINGS = frozenset((*_ARTICLES, *_COUNTS, "some", "its", "his", "her"))
"""Words with which another thing begins."""

_DOINGS = frozenset(
    (
        "running", "swimming", "walking", "sleeping", "sitting", "standing", "flying", "jumping", "dancing", "playing",
        "smiling", "laughing", "crying", "looking", "lying", "floating", "driving", "sailing", "climbing", "hiding",
        "resting", "waiting", "singing", "drinking", "cooking", "reading", "working", "fishing", "surfing", "skating",
        "hanging", "growing", "blooming", "shining", "glowing", "burning", "melting", "falling", "rolling", "spinning",
    )
)  # fmt: skip
"""Words behind a thing that say what it does; for people there are sprites that do it."""

_PEOPLE = frozenset(("person", "man", "woman", "boy", "girl", "child", "people", "kid"))
COLOURS = frozenset(
    (
        "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "black", "gray", "grey", "white",
        "crimson", "scarlet", "golden", "gold", "silver", "violet", "turquoise", "cyan", "magenta", "lime", "beige",
    )
)  # fmt: skip
"""Words that say which colour a thing takes on."""
SHADES = frozenset(("light", "dark", "bright", "pale", "navy"))
"""Words that say which kind of a colour."""
ADJECTIVES = COLOURS | SHADES | {"colorful", "colourful", "cute", "happy", "shiny", "old", "new", "beautiful", "nice"}
"""Words that name no thing, whatever stands behind them."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A thing in a prompt: its `phrase`, colours and all, without article, count and size."""

    phrase: str
    count: int = 1
    extent: Extent | None = None

    def colour_for(self, name: str) -> str:
        """Return the colour that something of this name has to take on; empty if none, or if the name says it."""
        words = self.phrase.split()[:-1]
        colours = [word for word in words if word in COLOURS]
        if not colours or set(colours) & set(name.split()):
            return ""
        shade = [word for word in words if word in SHADES and words[words.index(word) + 1 :][:1] == colours[:1]]
        return " ".join([*shade, colours[0]])


@dataclass(frozen=True, slots=True)
class Request:
    """What a prompt asks for. `style` is `3d`, `flat` or open."""

    mentions: Sequence[Mention] = ()
    arrangement: Arrangement = "row"
    is_reversed: bool = False
    place: Place | None = None
    style: str | None = None
    is_standing: bool = False
    background: str = ""

    @property
    def layout(self) -> Layout:
        """How the things lie on a canvas of their own."""
        count = min(MAX_THINGS, sum(mention.count for mention in self.mentions))
        extent = self.mentions[0].extent if count == 1 else None
        return Layout(
            count=count, arrangement=self.arrangement, place=self.place, extent=extent, is_standing=self.is_standing
        )


def read_prompt(prompt: str, names: Iterable[str] = ()) -> Request:
    """Return what a prompt asks for; the whole of it is one thing if nothing else can be made out.

    `names` are known to be one thing each, such as "face with tears of joy".
    """
    words = " ".join(prompt.lower().split())
    for name in sorted(names, key=len, reverse=True):
        if " " in name and name in words:
            words = re.sub(rf"\b{re.escape(name)}\b", name.replace(" ", _GLUE), words)
    style = next((style for word, style in _STYLES.items() if re.search(rf"\b{word}\b", words)), None)
    places: list[Place] = [match[1] for match in _PLACES.finditer(words)]  # type: ignore[misc]
    bare = _PLACES.sub(" ", _FRAMES.sub("", words))
    mentions, links, behind = _mentions(bare)
    if len(mentions) == 2 and places == ["right", "left"]:
        mentions.reverse()
    is_stack = len(mentions) == 2 and links[1] in _ABOVE + _BELOW
    return Request(
        mentions=mentions[:MAX_THINGS],
        arrangement="stack" if is_stack else "row",
        is_reversed=is_stack and links[1] in _BELOW,
        place=places[0] if places else None,
        style=style,
        is_standing=_GROUNDS.search(bare) is not None,
        background=behind,
    )


def _mentions(words: str) -> tuple[list[Mention], list[str], str]:
    """Return the things that are mentioned, what links each to the one before, and what is said of the background."""
    found: list[Mention] = []
    links: list[str] = []
    behind: list[str] = []
    for link, chunk in _joined(_chunks(words)):
        is_behind = link not in ("", "and", ",", "with") and _BACKGROUNDS.search(chunk) is not None
        is_behind = is_behind or "background" in chunk or link == "underwater"
        behind += [f"{link} {chunk.strip()}".strip(" ,")] * is_behind
        is_quiet = link in _QUIET or _is_manner(link, chunk.split())
        mention = None if is_behind or is_quiet else _mention(chunk)
        if mention is not None:
            found.append(mention)
            links.append(link)
    whole = words.replace(_GLUE, " ").strip()
    if whole and not found and not _BACKGROUNDS.search(words):
        found, links = [Mention(whole)], [""]
    return found, links, " ".join(behind)


def _chunks(words: str) -> list[tuple[str, str]]:
    """Return what stands between prepositions, each with the one before it."""
    parts = _PREPOSITIONS.split(words)
    return list(zip(["", *(link or "," for link in parts[1::2])], parts[::2], strict=True))


def _joined(chunks: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put adjectives that stand alone to their thing, as in "a black and white cat" or "a car in red"."""
    joined = chunks[:1]
    for link, chunk in chunks[1:]:
        before = joined[-1]
        goes_on = link in ("and", ",") and chunk.split()[:1] and chunk.split()[0] not in _BEGINNINGS
        if goes_on and _is_adjective(before[1]):
            joined[-1] = (before[0], f"{before[1]} {chunk}")
        elif link == "in" and _is_adjective(chunk) and chunk.split()[0] not in _BEGINNINGS:
            thing = " ".join(word for word in before[1].split() if word not in _IDLE)
            joined[-1] = (before[0], f"{chunk} {thing}")
        else:
            joined.append((link, chunk))
    return joined


def _is_adjective(chunk: str) -> bool:
    words = [word for word in chunk.split() if word not in _IDLE and word not in _COUNTS]
    return bool(words) and all(word in ADJECTIVES or word in _EXTENTS for word in words)


def _is_manner(link: str, words: Sequence[str]) -> bool:
    if not words or words[-1] not in _MANNERS:
        return False
    has_article = words[0] in _ARTICLES or words[0] in _COUNTS
    return link in _LINKS_OF_MANNERS or (link == "," and not has_article)


def _mention(chunk: str) -> Mention | None:
    words = _without_doing(chunk.split())
    count, extent, start = 1, None, 0
    for start, word in enumerate([*words, ""]):
        is_last = start >= len(words) - 1
        if word in _COUNTS and not is_last:
            count = _COUNTS[word]
        elif word in _EXTENTS and not is_last:
            extent = _EXTENTS[word]
        elif word not in _IDLE:
            break
    thing = " ".join(words[start:])
    if thing in _NO_THINGS or all(word in _STYLES for word in words[start:]):
        return None
    phrase = thing.replace(_GLUE, " ").strip()
    phrase = _singular(phrase) if count > 1 else phrase
    return Mention(phrase, count, extent) if phrase else None


def _without_doing(words: list[str]) -> list[str]:
    is_doing = len(words) > 1 and words[-1] in _DOINGS and not _PEOPLE.intersection(words)
    return words[:-1] if is_doing else words


def _singular(phrase: str) -> str:
    if phrase.endswith("ies"):
        return phrase[:-3] + "y"
    if phrase.endswith(("ches", "shes", "xes", "sses")):
        return phrase[:-2]
    return phrase[:-1] if phrase.endswith("s") and not phrase.endswith("ss") else phrase
