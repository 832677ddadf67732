"""Measure the packaged model as it is served: `python -m image_model.evaluate`.

Four figures over prompts that training has never seen, and a grid of 48 samples. The scorer names things; colours are
measured on the pixels. The same is measured on scenes that are composed, not drawn: the best that can be had.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from image_model.backgrounds import SCENES
from image_model.colours import BACKGROUND_COLOURS, COLOURS
from image_model.data import planes
from image_model.package import complete
from image_model.paths import DECODER, EVALUATION, PACKAGE, SCORER
from image_model.scenes import COLOURED_FOR_TEST, Imagination, Thing, is_held_out
from image_model.sprites import Sprites
from image_model.text import encoder
from openhearth.engine.image.drawing import Drawing
from openhearth.engine.image.pipeline import Pipeline
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.scorer import Scorer

GATES = {"object_top5": 0.7, "colour": 0.85, "background": 0.9, "both_objects": 0.5}
GRID = Path(__file__).with_name("samples.txt")
_EDGE = 256
_COLUMNS = 8

Draw = Callable[[str, int], Image.Image]


def main() -> None:
    """Measure, write the figures and the grid, and say which gates hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--fewer", type=int, default=1, help="take only every so many-th prompt")
    arguments = parser.parse_args()
    pipeline = Pipeline(complete(PACKAGE))

    def draw(prompt: str, seed: int) -> Image.Image:
        drawing = Drawing(
            prompt=prompt,
            seeds=[seed],
            size=(_EDGE, _EDGE),
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance_scale,
            is_transparent="transparent" in prompt,
        )
        return pipeline.draw(drawing, lambda step: None)[0]

    judge = Judge(Sprites.load())
    figures = measure(judge, lambda task, seed: draw(task.prompt, seed), arguments.fewer)
    figures |= {f"{name}_composed": value for name, value in measure(judge, composed(judge), arguments.fewer).items()}
    EVALUATION.mkdir(parents=True, exist_ok=True)
    (EVALUATION / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    grid(draw, GRID.read_text("utf-8").splitlines()).save(PACKAGE / "samples.webp", quality=85)
    for name, gate in GATES.items():
        holds = "holds" if figures[name] >= gate else "fails"
        print(f"{name}: {figures[name]:.3f} ({holds}, gate {gate}; composed scenes {figures[f'{name}_composed']:.3f})")


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt, what it is about, and what the judge has to find: a name, two names, a colour or a background."""

    prompt: str
    things: tuple[Thing, ...]
    background: str
    wanted: Any


def measure(judge: "Judge", draw: Callable[[Task, int], Image.Image], fewer: int = 1) -> dict[str, float]:
    """Return the four figures, each between 0 and 1."""
    kinds: dict[str, tuple[Sequence[Task], Callable[[Image.Image, Any], bool]]] = {
        "object_top5": (object_tasks(judge.sprites), judge.shows),
        "colour": (colour_tasks(judge.sprites), judge.has_colour),
        "background": (background_tasks(judge.sprites), judge.has_background),
        "both_objects": (pair_tasks(judge.sprites), judge.shows_both),
    }
    return {name: _share(tasks[::fewer], draw, is_right) for name, (tasks, is_right) in kinds.items()}


def composed(judge: "Judge") -> Callable[[Task, int], Image.Image]:
    """Return what puts the scene of a task together from sprites, as for training: what the judge makes of the best."""
    imagination = Imagination(judge.sprites, "held_out", holds_out_concepts=False)

    def draw(task: Task, seed: int) -> Image.Image:
        random = Random(seed)
        scene = imagination.described(task.things, random, task.background)
        return Image.fromarray(imagination.draw(scene, random).target)

    return draw


def object_tasks(sprites: Sprites, count: int = 200) -> list[Task]:
    """Return prompts for single things, half of them things that training never showed."""
    names = _names(sprites)
    random = Random(11)
    scenes = [*SCENES, *BACKGROUND_COLOURS]
    new = {name: [scene for scene in scenes if is_held_out(name, scene)] for name in names}
    unseen = [name for name in names if new[name] and is_held_out(name)]
    seen = [name for name in names if new[name] and not is_held_out(name)]
    chosen = random.sample(unseen, min(count // 2, len(unseen)))
    chosen += random.sample(seen, count - len(chosen))
    return [_single(sprites, name, random.choice(new[name]), wanted=name) for name in chosen]


def colour_tasks(sprites: Sprites) -> list[Task]:
    """Return prompts for twelve colours of twenty things that training never showed in another colour."""
    pairs = [(colour, name) for name in sorted(COLOURED_FOR_TEST) for colour in COLOURS]
    return [_single(sprites, name, _contrast(colour), colour=colour, wanted=colour) for colour, name in pairs]


def background_tasks(sprites: Sprites, count: int = 120) -> list[Task]:
    """Return prompts for every plain colour and every landscape."""
    random, kinds = Random(13), [*BACKGROUND_COLOURS, *SCENES]
    names = _names(sprites)
    chosen = [kinds[number % len(kinds)] for number in range(count)]
    things = [random.choice([name for name in names if is_held_out(name, kind)]) for kind in chosen]
    return [_single(sprites, name, kind, wanted=kind) for name, kind in zip(things, chosen, strict=True)]


def pair_tasks(sprites: Sprites, count: int = 100) -> list[Task]:
    """Return prompts for two things side by side that training never showed together."""
    random, names = Random(17), _names(sprites)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        first, second = random.sample(names, 2)
        if is_held_out(first, second):
            pairs.append((first, second))
    return [_pair(sprites, pair) for pair in pairs]


class Judge:
    """Says whether a picture shows what it should."""

    def __init__(self, sprites: Sprites) -> None:
        self.sprites = sprites

    @cached_property
    def _vae(self) -> PatchVAE:
        vae: PatchVAE = PatchVAE.from_pretrained(DECODER / "vae").eval()
        return vae

    @cached_property
    def _scorer(self) -> Scorer:
        scorer: Scorer = Scorer.from_pretrained(SCORER / "scorer").eval()
        return scorer

    def shows(self, picture: Image.Image, name: str, best: int = 5) -> bool:
        """Whether a name is among the best for a picture, of all there are."""
        return name in self._ranked(picture, self._names, "a {}")[:best]

    def shows_both(self, picture: Image.Image, names: tuple[str, str]) -> bool:
        """Whether the left half shows one of two things, and the right half the other."""
        halves = [
            picture.crop((left, 64, left + 128, 192)).resize((_EDGE, _EDGE), Resampling.BICUBIC) for left in (0, 128)
        ]
        first, second = names
        return all(map(self.shows, halves, (first, second))) or all(map(self.shows, halves, (second, first)))

    def has_colour(self, picture: Image.Image, colour: str) -> bool:
        """Whether most of what differs from the background is nearest to this colour."""
        pixels = np.asarray(picture.convert("RGB"), np.float32)
        behind = np.median(_rim(pixels), 0)
        shown = pixels[np.abs(pixels - behind).max(-1) > 40]
        return len(shown) > 0 and _most_common(shown, COLOURS) == colour

    def has_background(self, picture: Image.Image, name: str) -> bool:
        """Whether the rim of a picture has a colour, or its whole is like a landscape more than like all others."""
        if name in BACKGROUND_COLOURS:
            rim = _rim(np.asarray(picture.convert("RGB"), np.float32))
            return _most_common(rim, BACKGROUND_COLOURS) == name
        return self._ranked(picture, list(SCENES), "a thing {}")[0] == name

    def _ranked(self, picture: Image.Image, names: list[str], frame: str) -> list[str]:
        with torch.no_grad():
            pixels = torch.from_numpy(np.array(picture.convert("RGBA")))[None]
            seen = self._scorer(self._vae.encode_planes(planes(pixels)))[0]
        return [names[place] for place in (self._meanings(names, frame) @ seen).argsort(descending=True).tolist()]

    def _meanings(self, names: list[str], frame: str) -> Any:
        if names is self._names:
            return self._meanings_of_names
        return encoder().embeddings([frame.format(SCENES[name].phrases[0]) for name in names])

    @cached_property
    def _names(self) -> list[str]:
        return _names(self.sprites)

    @cached_property
    def _meanings_of_names(self) -> Any:
        return torch.cat([encoder().embeddings([f"a {name}"]) for name in self._names])


def grid(draw: Draw, prompts: Sequence[str]) -> Image.Image:
    """Return samples side by side, in the order of their prompts."""
    sheet = Image.new("RGB", (_COLUMNS * _EDGE, -(-len(prompts) // _COLUMNS) * _EDGE), "white")
    for number, prompt in enumerate(prompts):
        picture = draw(prompt, number)
        is_clear = picture.mode == "RGBA" and "transparent" in prompt
        row, column = divmod(number, _COLUMNS)
        sheet.paste(picture.convert("RGB"), (column * _EDGE, row * _EDGE), picture if is_clear else None)
    return sheet


def _share(
    tasks: Sequence[Task], draw: Callable[[Task, int], Image.Image], is_right: Callable[[Image.Image, Any], bool]
) -> float:
    right = [is_right(draw(task, seed), task.wanted) for seed, task in enumerate(tasks)]
    return sum(right) / len(right)


def _single(sprites: Sprites, name: str, background: str, *, wanted: str, colour: str | None = None) -> Task:
    thing = Thing(_number(sprites, name), name, colour)
    return Task(f"{_article(sprites, thing)} {_behind(background)}", (thing,), background, wanted)


def _pair(sprites: Sprites, names: tuple[str, str]) -> Task:
    first, second = (Thing(_number(sprites, name), name) for name in names)
    prompt = f"{_article(sprites, first)} and {_article(sprites, second)}"
    return Task(prompt, (first, second), "unnamed", names)


def _names(sprites: Sprites) -> list[str]:
    return sorted({info.name for info in sprites.infos})


def _number(sprites: Sprites, name: str) -> int:
    return next(number for number, info in enumerate(sprites.infos) if info.name == name)


def _rim(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([pixels[:6].reshape(-1, 3), pixels[:, :6].reshape(-1, 3), pixels[:, -6:].reshape(-1, 3)])


def _most_common(pixels: NDArray[np.float32], table: dict[str, tuple[int, int, int]]) -> str:
    """Return the name that most of the pixels are nearest to, in CIE Lab."""
    names = list(table)
    distance = _lab(pixels[:, None]) - _lab(np.array([list(table.values())], np.float32))
    nearest = np.square(distance).sum(-1).argmin(-1)
    return names[Counter(nearest.tolist()).most_common(1)[0][0]]


def _lab(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    linear = np.where(rgb <= 10.3, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1).astype(np.float32)


def _article(sprites: Sprites, thing: Thing) -> str:
    is_plural = sprites.infos[thing.sprite].is_plural
    return thing.phrase if is_plural else f"{'an' if thing.phrase[0] in 'aeiou' else 'a'} {thing.phrase}"


def _behind(kind: str) -> str:
    if kind in SCENES:
        return SCENES[kind].phrases[0]
    return f"on {'an' if kind[0] in 'aeiou' else 'a'} {kind} background"


def _contrast(colour: str) -> str:
    return "light green" if colour in ("white", "gray", "black", "yellow") else "white"


if __name__ == "__main__":
    main()
