"""The sprites that a model has to look at, and which of them a phrase means.

A folder holds `bank.json`, the descriptions, `sprites.bin`, as many WebP files one behind the other, and
`meanings.npy`, the embeddings of the sprites' names in alphabetical order, each name once.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from openhearth.engine.image.retrieval.prompts import ADJECTIVES

_SAME, _WHOLE_NAME, _LAST_WORD, _KEYWORD = 0.6, 0.35, 0.2, 0.12
"""What it adds to the likeness of meanings (a cosine) that words are the same."""

_NEARLY = 0.03
_MAX_WORDS = 16
"""How many words of a phrase are compared, from its end."""

Embed = Callable[[Sequence[str]], Any]


@dataclass(frozen=True, slots=True)
class Sprite:
    """A sprite's description, and where its picture lies."""

    name: str
    aliases: tuple[str, ...]
    keywords: tuple[str, ...]
    style: str
    offset: int
    length: int


class Bank:
    """All sprites of a model, found by what they are called. `embed` gives unit vectors [B, D] for texts."""

    def __init__(self, folder: Path, embed: Embed) -> None:
        entries = json.loads((folder / "bank.json").read_text("utf-8"))
        self.sprites = tuple(
            Sprite(**(entry | {"aliases": tuple(entry["aliases"]), "keywords": tuple(entry["keywords"])}))
            for entry in entries
        )
        self._data = (folder / "sprites.bin").read_bytes()
        self.names = tuple(sorted({sprite.name for sprite in self.sprites}))
        places = {name: place for place, name in enumerate(self.names)}
        meanings = np.load(folder / "meanings.npy", allow_pickle=False).astype(np.float32)
        self._meanings = meanings[[places[sprite.name] for sprite in self.sprites]]
        self._embed = embed

    def find(self, phrase: str, style: str | None = None) -> list[Sprite]:
        """Return the sprites that mean a phrase best, all about as well, of one style if that is to be had."""
        scores = self._scores(phrase)
        best = [sprite for sprite, score in zip(self.sprites, scores, strict=True) if score >= scores.max() - _NEARLY]
        best = [sprite for sprite in best if sprite.name == best[0].name]
        return [sprite for sprite in best if sprite.style == style] or best

    def picture(self, sprite: Sprite) -> Image.Image:
        """Return a sprite in RGBA."""
        data = self._data[sprite.offset : sprite.offset + sprite.length]
        return Image.open(io.BytesIO(data)).convert("RGBA")

    def _scores(self, phrase: str) -> NDArray[np.float32]:
        words = phrase.split()[-_MAX_WORDS:] or [""]
        nouns = [word for word in words if word not in ADJECTIVES] or words
        meanings = np.asarray(self._embed([" ".join(nouns), phrase]), np.float32) @ self._meanings.T
        likeness = 0.7 * meanings[0] + 0.3 * meanings[1]
        bonus = [_bonus(words, nouns, sprite) for sprite in self.sprites]
        return np.asarray(likeness + np.array(bonus, np.float32), np.float32)


def _bonus(words: Sequence[str], nouns: Sequence[str], sprite: Sprite) -> float:
    bonus = max(_likeness(name.split(), words, nouns) for name in (sprite.name, *sprite.aliases))
    return bonus + _KEYWORD * bool({" ".join(nouns), nouns[-1]} & set(sprite.keywords))


def _likeness(name: Sequence[str], words: Sequence[str], nouns: Sequence[str]) -> float:
    if list(name) in (list(nouns), list(words)):
        return _SAME
    if name[-1] != nouns[-1]:
        return 0.0
    return _WHOLE_NAME if set(name) <= set(words) else _LAST_WORD
