"""Captioned scenes, drawn at random: what the networks are trained and judged on."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from image_model.backgrounds import EDGE, PLAIN, SCENES, Background, unnamed, with_shadows
from image_model.colours import COLOURS, recoloured
from image_model.sprites import SpriteInfo, Sprites
from openhearth.engine.image.retrieval.canvas import Placed, coverage, layers, stacked
from openhearth.engine.image.retrieval.layout import Box, Extent, Layout, Place, boxes

GRID = 16
MAX_THINGS = 4
Split = Literal["train", "held_out"]
_COUNTS = {2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True, slots=True)
class Thing:
    """A sprite, by its number, in its own colours or in another."""

    sprite: int
    name: str
    colour: str | None = None

    @property
    def phrase(self) -> str:
        """What it is called."""
        return f"{self.colour} {self.name}" if self.colour else self.name


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, in words and in boxes.

    `background` is a key of `PLAIN` or `SCENES`, or a word for none; `behind` is what the caption says of it.
    """

    caption: str
    things: tuple[Thing, ...]
    layout: Layout
    background: str
    behind: str


@dataclass(frozen=True, slots=True)
class Example:
    """One picture: `target` and `canvas`, what is shown beforehand, are uint8 [256, 256, 4]; `covers` [4, 16, 16].

    `colours` are those that the things take on, empty for their own; `background` is what is said of it. `names` are
    those of the sprites, `where` the boxes that they lie in.
    """

    caption: str
    colours: tuple[str, ...]
    background: str
    names: tuple[str, ...]
    where: tuple[Box, ...]
    target: NDArray[np.uint8]
    canvas: NDArray[np.uint8]
    covers: NDArray[np.float32]


COLOURED_FOR_TEST = frozenset(
    (
        "balloon", "automobile", "umbrella", "t-shirt", "teapot", "socks", "backpack", "bus", "sailboat", "tulip",
        "billed cap", "butterfly", "bird", "fish", "scarf", "dress", "bell", "key", "kite", "chair",
    )
)  # fmt: skip
"""Things that training never shows in a colour that is not their own."""


def is_held_out(*words: str) -> bool:
    """Whether a concept, or a combination of several, is kept from training; about one in ten is."""
    return zlib.crc32("|".join(sorted(words)).encode()) % 10 == 0


class Imagination:
    """Thinks of scenes and draws them, with the first so many `concepts` or all of them."""

    def __init__(
        self, sprites: Sprites, split: Split, *, holds_out_concepts: bool = True, concepts: int | None = None
    ) -> None:
        self._sprites = sprites
        self._split = split
        self._numbers = [
            number
            for number, info in enumerate(sprites.infos[:concepts])
            if not (holds_out_concepts and split == "train" and is_held_out(info.name))
        ]

    def scene(self, random: Random) -> Scene:
        """Return a scene of this split."""
        while True:
            scene = self._any_scene(random)
            if self._belongs(scene):
                return scene

    def draw(self, scene: Scene, random: Random, *, shows_background: bool = False) -> Example:
        """Draw a scene; a second time it looks a little different.

        With `shows_background`, the canvas has that already, as when something is drawn into a picture.
        """
        where = boxes(scene.layout, random)
        mirrored = [random.random() < 0.5 for _ in where]
        shown = layers(self._placed(scene, where, mirrored, in_own_colours=True), (EDGE, EDGE))
        drawn = shown
        if any(thing.colour for thing in scene.things):
            drawn = layers(self._placed(scene, where, mirrored, in_own_colours=False), (EDGE, EDGE))
        behind = _behind(scene, shown, random)
        covers = np.zeros((MAX_THINGS, GRID, GRID), np.float32)
        covers[: len(shown)] = coverage(shown, (GRID, GRID))
        return Example(
            caption=scene.caption,
            colours=tuple(thing.colour or "" for thing in scene.things),
            background="" if shows_background and behind else scene.behind,
            names=tuple(self._sprites.infos[thing.sprite].name for thing in scene.things),
            where=tuple(where),
            target=np.asarray(stacked([*behind, *drawn], (EDGE, EDGE))),
            canvas=np.asarray(stacked([*behind, *shown] if shows_background else shown, (EDGE, EDGE))),
            covers=covers,
        )

    def _placed(
        self, scene: Scene, where: Sequence[Box], mirrored: Sequence[bool], *, in_own_colours: bool
    ) -> list[Placed]:
        return [
            Placed(self._picture(thing, in_own_colours), box, flip)
            for thing, box, flip in zip(scene.things, where, mirrored, strict=True)
        ]

    def _picture(self, thing: Thing, in_own_colours: bool) -> Image.Image:
        pixels = self._sprites.pixels[thing.sprite]
        if thing.colour is None or in_own_colours:
            return Image.fromarray(pixels[..., :4])
        return Image.fromarray(recoloured(pixels[..., :4], pixels[..., 4], COLOURS[thing.colour]))

    def _belongs(self, scene: Scene) -> bool:
        # By what things are, whatever a caption calls them.
        coloured = [(self._sprites.infos[thing.sprite].name, thing.colour) for thing in scene.things if thing.colour]
        combinations = [name in COLOURED_FOR_TEST or is_held_out(name, colour) for name, colour in coloured]
        names = {self._sprites.infos[thing.sprite].name for thing in scene.things}
        if len(names) > 1:
            combinations.append(is_held_out(*names))
        elif not coloured:
            combinations.append(is_held_out(*names, scene.background))
        return any(combinations) == (self._split == "held_out")

    def _any_scene(self, random: Random) -> Scene:
        roll = random.random()
        if roll < 0.04:
            return self.described((), random)
        if roll < 0.62:
            return self.described((self._thing(random),), random)
        if roll < 0.92:
            return self.described((self._thing(random), self._thing(random)), random)
        return self.described((self._thing(random),) * random.randint(2, MAX_THINGS), random)

    def _thing(self, random: Random) -> Thing:
        number = random.choice(self._numbers)
        info = self._sprites.infos[number]
        colour = random.choice(list(COLOURS)) if info.is_recolourable and random.random() < 0.5 else None
        return Thing(number, _name(info, random), colour)

    def described(self, things: tuple[Thing, ...], random: Random, background: str | None = None) -> Scene:
        """Return a scene with these things: its caption, and how they lie."""
        background = background or _any_background(random, is_empty=not things)
        behind = {**PLAIN, **SCENES}.get(background)
        is_standing = behind is not None and behind.has_ground
        infos = [self._sprites.infos[thing.sprite] for thing in things]
        subject, layout = _subject(things, infos, is_standing, random)
        phrase = _background_phrase(background, behind, random)
        style = infos[0].style if infos else "flat"
        return Scene(_worded(subject, phrase, style, random), things, layout, background, phrase)


def _name(info: SpriteInfo, random: Random) -> str:
    return random.choice(info.keywords) if info.keywords and random.random() < 0.08 else info.name


def _any_background(random: Random, *, is_empty: bool) -> str:
    roll = random.random()
    if is_empty or roll < 0.36:
        return random.choice(list(SCENES))
    if roll < 0.68:
        return random.choice(list(PLAIN))
    return "transparent" if roll < 0.78 else "unnamed"


def _subject(
    things: tuple[Thing, ...], infos: Sequence[SpriteInfo], is_standing: bool, random: Random
) -> tuple[str, Layout]:
    """Return the words for the things, and their layout."""
    if not things:
        return "", Layout(count=0)
    if len(things) == 1:
        return _single(things[0], infos[0], is_standing, random)
    if len(set(things)) == 1:
        return f"{_COUNTS[len(things)]} {_plural(things[0].phrase)}", Layout(count=len(things), is_standing=is_standing)
    first, second = (_with_article(thing.phrase, info) for thing, info in zip(things, infos, strict=True))
    if random.random() < 0.2:
        return f"{first} {random.choice(('above', 'over', 'on top of'))} {second}", Layout(count=2, arrangement="stack")
    link = random.choice(("and", "and", "next to", "beside", "with"))
    return f"{first} {link} {second}", Layout(count=2, is_standing=is_standing)


def _single(thing: Thing, info: SpriteInfo, is_standing: bool, random: Random) -> tuple[str, Layout]:
    phrase, roll = thing.phrase, random.random()
    place: Place | None = None
    extent: Extent | None = None
    if roll < 0.16:
        extent = random.choice(("small", "large"))
        phrase = (
            f"{random.choice(('small', 'tiny', 'little') if extent == 'small' else ('large', 'big', 'huge'))} {phrase}"
        )
    words = _with_article(phrase, info) if random.random() < 0.8 else phrase
    if 0.16 <= roll < 0.32:
        place = random.choice(("left", "right", "top", "bottom"))
        words += f" {'at' if place in ('top', 'bottom') else 'on'} the {place}"
    return words, Layout(place=place, extent=extent, is_standing=is_standing)


def _plural(phrase: str) -> str:
    if phrase.endswith("s"):
        return phrase
    return f"{phrase[:-1]}ies" if phrase.endswith("y") and phrase[-2:-1] not in "aeiou" else f"{phrase}s"


def _with_article(phrase: str, info: SpriteInfo) -> str:
    if info.is_plural:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _background_phrase(name: str, background: Background | None, random: Random) -> str:
    if name == "transparent":
        return random.choice(("on a transparent background", "with a transparent background"))
    return random.choice(background.phrases) if background else ""


def _worded(subject: str, background: str, style: str, random: Random) -> str:
    if not subject:
        return random.choice(("a landscape {}", "an empty scene {}", "{}")).format(background)
    words = f"{subject} {background}".strip()
    roll = random.random()
    if style == "3d" and roll < 0.3:
        return random.choice(("a 3d render of {}", "{}, 3d", "a glossy 3d icon of {}")).format(words)
    if style == "flat" and roll < 0.2:
        return random.choice(("a flat drawing of {}", "a cartoon of {}", "clip art of {}")).format(words)
    if roll > 0.85:
        return random.choice(("a picture of {}", "an illustration of {}", "a drawing of {}")).format(words)
    return words


def _behind(scene: Scene, parts: Sequence[Image.Image], random: Random) -> list[Image.Image]:
    """Return what is behind the things of a scene, with their shadows: one picture in RGBA, or none."""
    if scene.background == "transparent":
        return []
    background = {**PLAIN, **SCENES}.get(scene.background)
    behind = background.paint(random) if background else unnamed(random)
    if background and background.has_ground:
        rims = [part.getchannel("A").getbbox() for part in parts]
        behind = with_shadows(behind, [rim for rim in rims if rim])
    return [behind.convert("RGBA")]
