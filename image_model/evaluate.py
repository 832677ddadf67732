"""Measure the packaged model as it is served: `python -m image_model.evaluate`.

Four figures over prompts that training has never seen, and a grid of 48 samples. The scorer names things; colours are
measured on the pixels. The same is measured on scenes that are composed, not drawn: the best that can be had.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from image_model.backgrounds import SCENES
from image_model.colours import BACKGROUND_COLOURS, COLOURS
from image_model.package import complete
from image_model.paths import EVALUATION, PACKAGE
from image_model.scenes import COLOURED_FOR_TEST, Imagination, Thing, is_held_out
from image_model.scorer import Scorer
from image_model.sprites import Sprites
from openhearth.engine.image.drawing import Drawing
from openhearth.engine.image.pipeline import Pipeline
from openhearth.engine.image.retrieval.layout import Layout, boxes
from openhearth.engine.image.retrieval.prompts import read_prompt

GATES = {"object_top5": 0.7, "colour": 0.85, "background": 0.9, "both_objects": 0.5}
GRID = Path(__file__).with_name("samples.txt")
_EDGE = 256
_COLUMNS = 8

Draw = Callable[[str, int], Image.Image]
Right = Callable[[Image.Image, "Task", int], bool]
"""Whether a picture that was drawn for a task with a seed is right."""


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
    _require(figures)


def _require(figures: dict[str, float]) -> None:
    """Print the figures, and end with an error if one is below its gate."""
    for name, gate in GATES.items():
        holds = "holds" if figures[name] >= gate else "fails"
        print(f"{name}: {figures[name]:.3f} ({holds}, gate {gate}; composed scenes {figures[f'{name}_composed']:.3f})")
    missed = [name for name, gate in GATES.items() if figures[name] < gate]
    if missed:
        sys.exit(f"Below the gate: {', '.join(missed)}.")


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt, what it is about, and what the judge has to find: a name, two names, a colour or a background."""

    prompt: str
    things: tuple[Thing, ...]
    background: str
    wanted: Any


def measure(judge: "Judge", draw: Callable[[Task, int], Image.Image], fewer: int = 1) -> dict[str, float]:
    """Return the four figures, each between 0 and 1."""
    kinds: dict[str, tuple[Sequence[Task], Right]] = {
        "object_top5": (object_tasks(judge.sprites), judge.shows),
        "colour": (colour_tasks(judge.sprites), judge.has_colour),
        "background": (background_tasks(judge.sprites), judge.has_background),
        "both_objects": (pair_tasks(judge.sprites), judge.shows),
    }
    return {name: _share(tasks[::fewer], draw, is_right) for name, (tasks, is_right) in kinds.items()}


def composed(judge: "Judge") -> Callable[[Task, int], Image.Image]:
    """Return what puts the scene of a task together from sprites, as for training: what the judge makes of the best."""
    imagination = Imagination(judge.sprites, "held_out", holds_out_concepts=False)

    def draw(task: Task, seed: int) -> Image.Image:
        scene = imagination.described(task.things, Random(seed), task.background)
        scene = replace(scene, layout=judge.layout(task))
        return Image.fromarray(imagination.draw(scene, Random(seed)).target)

    return draw


def object_tasks(sprites: Sprites, count: int = 200) -> list[Task]:
    """Return prompts for single things, half of them things that training never showed."""
    random, names = Random(11), names_of(sprites)
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
    names = names_of(sprites)
    chosen = [kinds[number % len(kinds)] for number in range(count)]
    things = [random.choice([name for name in names if is_held_out(name, kind)]) for kind in chosen]
    return [_single(sprites, name, kind, wanted=kind) for name, kind in zip(things, chosen, strict=True)]


def pair_tasks(sprites: Sprites, count: int = 100) -> list[Task]:
    """Return prompts for two things side by side that training never showed together."""
    random, names = Random(17), names_of(sprites)
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
        self._names = names_of(sprites)
        self._scorer = Scorer(sprites)

    def shows(self, picture: Image.Image, task: Task, seed: int) -> bool:
        """Whether in each box the right name is among the five best of all; two things may have changed places."""
        names = [self.sprites.infos[thing.sprite].name for thing in task.things]
        best = [self._scorer.names(picture, box)[:5] for box in boxes(self.layout(task), Random(seed))]
        return any(all(map(list.__contains__, best, order)) for order in (names, names[::-1]))

    def layout(self, task: Task) -> Layout:
        """Return how the things of a task lie, as the model reads the prompt."""
        return replace(read_prompt(task.prompt, self._names).layout, count=len(task.things))

    def has_colour(self, picture: Image.Image, task: Task, seed: int) -> bool:
        """Whether most of what differs from the background is nearest to the colour."""
        pixels = np.asarray(picture.convert("RGB"), np.float32)
        behind = np.median(_rim(pixels), 0)
        shown = pixels[np.abs(pixels - behind).max(-1) > 40]
        return len(shown) > 0 and _most_common(shown, COLOURS) == str(task.wanted)

    def has_background(self, picture: Image.Image, task: Task, seed: int) -> bool:
        """Whether the rim of a picture has the colour, or is like this landscape's more than like all others'."""
        if task.wanted in BACKGROUND_COLOURS:
            rim = _rim(np.asarray(picture.convert("RGB"), np.float32))
            return _most_common(rim, BACKGROUND_COLOURS) == str(task.wanted)
        distances = {name: np.abs(each - _border(picture)).mean((1, 2)).min() for name, each in _landscapes().items()}
        return min(distances, key=distances.__getitem__) == str(task.wanted)


def grid(draw: Draw, prompts: Sequence[str]) -> Image.Image:
    """Return samples side by side, in the order of their prompts."""
    sheet = Image.new("RGB", (_COLUMNS * _EDGE, -(-len(prompts) // _COLUMNS) * _EDGE), "white")
    for number, prompt in enumerate(prompts):
        picture = draw(prompt, number)
        is_clear = picture.mode == "RGBA" and "transparent" in prompt
        row, column = divmod(number, _COLUMNS)
        sheet.paste(picture.convert("RGB"), (column * _EDGE, row * _EDGE), picture if is_clear else None)
    return sheet


def _share(tasks: Sequence[Task], draw: Callable[[Task, int], Image.Image], is_right: Right) -> float:
    right = [is_right(draw(task, seed), task, seed) for seed, task in enumerate(tasks)]
    return sum(right) / len(right)


@cache
def _landscapes(count: int = 16) -> dict[str, NDArray[np.float32]]:
    """Return the borders of some pictures of each landscape."""
    return {
        name: np.stack([_border(background.paint(Random(seed))) for seed in range(count)])
        for name, background in SCENES.items()
    }


def _border(picture: Image.Image) -> NDArray[np.float32]:
    """Return the outer fields of a picture of 32x32 fields: [N, 3], 0 to 255."""
    fields = np.asarray(picture.convert("RGB").resize((32, 32), Resampling.BOX), np.float32)
    inner = np.zeros((32, 32), bool)
    inner[5:27, 5:27] = True
    return fields[~inner]


def _single(sprites: Sprites, name: str, background: str, *, wanted: str, colour: str | None = None) -> Task:
    thing = Thing(_number(sprites, name), name, colour)
    return Task(f"{_article(sprites, thing)} {_behind(background)}", (thing,), background, wanted)


def _pair(sprites: Sprites, names: tuple[str, str]) -> Task:
    first, second = (Thing(_number(sprites, name), name) for name in names)
    prompt = f"{_article(sprites, first)} and {_article(sprites, second)}"
    return Task(prompt, (first, second), "unnamed", names)


def names_of(sprites: Sprites) -> list[str]:
    """Return the names of all things, in alphabetical order."""
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
