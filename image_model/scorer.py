"""Names what lies in a box of a picture, and says how well it does: `python -m image_model.scorer`.

A thing is described by the directions of its edges (Dalal and Triggs 2005), which colour, light and background change
little, and has the name of the sprite whose edges are most like it. Nothing is learnt, so nothing that a network draws
can have been fitted to it.
"""

import json
from functools import cached_property
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.Image import Resampling

from image_model.paths import SCORER
from image_model.scenes import Imagination
from image_model.sprites import Sprites
from openhearth.engine.image.retrieval.layout import Box

GATE = 0.8
_EDGE, _CELL, _DIRECTIONS = 64, 8, 9
_COUNT = 1000

Floats = NDArray[np.float32]


def main() -> None:
    """Say how often the right name is the first, or among the first five, of 1,000 things in held-out scenes."""
    SCORER.mkdir(parents=True, exist_ok=True)
    top1, top5 = evaluate(Scorer(Sprites.load()))
    print(f"first of all names {top1:.3f}, among five {top5:.3f} ({'holds' if top5 >= GATE else 'fails'}, gate {GATE})")
    (SCORER / "log.jsonl").write_text(json.dumps({"top1": top1, "top5": top5}) + "\n", "utf-8")


def evaluate(scorer: "Scorer", count: int = _COUNT) -> tuple[float, float]:
    """Return the two shares, over things in other colours and on backgrounds that training does not show."""
    imagination, random = Imagination(scorer.sprites, "held_out", holds_out_concepts=False), Random(5)
    ranks: list[int] = []
    while len(ranks) < count:
        example = imagination.draw(imagination.scene(random), random)
        for name, box in zip(example.names, example.where, strict=True):
            ranks.append(scorer.names(Image.fromarray(example.target), box).index(name))
    return sum(rank < 1 for rank in ranks) / len(ranks), sum(rank < 5 for rank in ranks) / len(ranks)


class Scorer:
    """Knows the edges of all sprites, as they are and mirrored."""

    def __init__(self, sprites: Sprites) -> None:
        self.sprites = sprites

    def names(self, picture: Image.Image, box: Box) -> list[str]:
        """Return all names, first that of what the box shows; it may be mirrored."""
        likeness = self._edges @ edges(cut(picture, box))
        best = dict.fromkeys(self._names[place] for place in np.argsort(-likeness))
        return list(best)

    @cached_property
    def _names(self) -> list[str]:
        return [info.name for info in self.sprites.infos for _ in range(2)]

    @cached_property
    def _edges(self) -> Floats:
        pictures = (Image.fromarray(np.ascontiguousarray(pixels[..., :4])) for pixels in self.sprites.pixels)
        both = (each for picture in pictures for each in (picture, ImageOps.mirror(picture)))
        return np.stack([edges(each.resize((_EDGE, _EDGE), Resampling.BOX)) for each in both])


def cut(picture: Image.Image, box: Box) -> Image.Image:
    """Return what lies in a box, in RGBA and 64x64."""
    left, top = box.left * picture.width, box.top * picture.height
    right, bottom = left + box.width * picture.width, top + box.height * picture.height
    whole = picture.convert("RGBA").crop((round(left), round(top), round(right), round(bottom)))
    return whole.resize((_EDGE, _EDGE), Resampling.BOX)


def edges(picture: Image.Image) -> Floats:
    """Return how strong the edges of each direction are in each field of a 64x64 picture, at length 1."""
    grey = Image.new("RGBA", picture.size, (190, 190, 190))
    grey.alpha_composite(picture)
    pixels = np.asarray(grey.convert("RGB"), np.float32)
    rise, run = np.gradient(pixels, axis=(0, 1))
    strength = np.hypot(rise, run)
    strongest = strength.argmax(-1)[..., None]
    rise, run, strength = (np.take_along_axis(each, strongest, -1)[..., 0] for each in (rise, run, strength))
    direction = (np.arctan2(rise, run) % np.pi) * (_DIRECTIONS / np.pi)
    lower, part = np.floor(direction).astype(int) % _DIRECTIONS, direction % 1
    fields = np.zeros((_DIRECTIONS, _EDGE, _EDGE), np.float32)
    rows, columns = np.indices(strength.shape)
    weight = np.sqrt(strength)
    fields[lower, rows, columns] += weight * (1 - part)
    fields[(lower + 1) % _DIRECTIONS, rows, columns] += weight * part
    size = _EDGE // _CELL
    found = fields.reshape(_DIRECTIONS, size, _CELL, size, _CELL).sum((2, 4))
    found /= np.linalg.norm(found, axis=0) + 8
    return np.asarray(found.ravel() / (np.linalg.norm(found) + 1e-6), np.float32)


if __name__ == "__main__":
    main()
