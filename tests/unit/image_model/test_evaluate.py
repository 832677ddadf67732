"""The judge's own measures, and prompts that training has not seen."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image

from image_model.backgrounds import SCENES
from image_model.colours import BACKGROUND_COLOURS, COLOURS
from image_model.evaluate import (
    Judge,
    Task,
    background_tasks,
    colour_tasks,
    composed,
    grid,
    object_tasks,
    pair_tasks,
)
from image_model.scenes import COLOURED_FOR_TEST, Thing, is_held_out
from image_model.sprites import Sprites
from openhearth.engine.image.retrieval.layout import Box


def task(wanted: str) -> Task:
    """Return a task of which only what is wanted counts."""
    return Task("a ball", (Thing(0, "ball"),), "white", wanted)


@pytest.mark.parametrize("name", list(SCENES))
def test_a_landscape_is_recognised(sprites: Sprites, name: str) -> None:
    """By its border, from a picture that the judge has not seen."""
    picture = SCENES[name].paint(Random(1234))
    picture.paste("red", (60, 60, 200, 200))

    assert Judge(sprites).has_background(picture, task(name), 0)
    assert not Judge(sprites).has_background(picture, task("sea" if name != "sea" else "night"), 0)


@pytest.mark.parametrize("name", list(COLOURS))
def test_a_colour_is_recognised(sprites: Sprites, name: str) -> None:
    """A disc of a colour has that colour, whatever it lies on."""
    picture = Image.new("RGB", (256, 256), "white" if name != "white" else (176, 230, 160))
    picture.paste(COLOURS[name], (60, 60, 200, 200))

    judge = Judge(sprites)

    assert judge.has_colour(picture, task(name), 0)
    assert not judge.has_colour(picture, task("teal" if name != "teal" else "red"), 0)
    assert not judge.has_colour(Image.new("RGB", (256, 256)), task(name), 0)


@pytest.mark.parametrize("name", list(BACKGROUND_COLOURS))
def test_a_plain_background_is_recognised(sprites: Sprites, name: str) -> None:
    """The rim counts, not what is in the middle."""
    picture = Image.new("RGB", (256, 256), BACKGROUND_COLOURS[name])
    picture.paste("red" if name != "red" else "blue", (60, 60, 200, 200))

    assert Judge(sprites).has_background(picture, task(name), 0)


def test_prompts_were_not_trained_on(sprites: Sprites) -> None:
    """Every combination is one that is held out."""
    many = tuple(
        replace(sprites.infos[0], name=f"{kind} {number}") for kind in ("ball", "key", "hat") for number in range(99)
    )
    sprites = Sprites(sprites.pixels, many)

    assert all(is_held_out(*task.wanted) for task in pair_tasks(sprites, 5))
    for task in object_tasks(sprites, 8):
        assert task.wanted in task.prompt
        assert is_held_out(task.wanted, task.background)
    for task in background_tasks(sprites, 3):
        assert task.background.split()[0] in task.prompt


def test_every_colour_is_asked_of_twenty_things(sprites: Sprites) -> None:
    """None of which training shows in another colour than its own; the words are a person's."""
    known = tuple(replace(sprites.infos[0], name=name) for name in sorted(COLOURED_FOR_TEST))
    tasks = colour_tasks(Sprites(sprites.pixels, known))

    assert len(tasks) == 240
    assert len({task.prompt for task in tasks}) == 240
    assert "an orange backpack on a white background" in {task.prompt for task in tasks}


def test_scenes_are_composed_as_asked(sprites: Sprites) -> None:
    """The judge of plain backgrounds finds what was put there."""
    judge = Judge(sprites)
    draw = composed(judge)
    tasks = [Task("a ball", (Thing(0, "ball"),), name, name) for name in BACKGROUND_COLOURS]

    right = [judge.has_background(draw(each, seed), each, seed) for seed, each in enumerate(tasks)]

    assert sum(right) >= len(right) - 1


def test_things_are_looked_for_where_they_lie(sprites: Sprites, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two things may have changed places, but neither may be missing."""
    judge = Judge(sprites)
    pair = Task("a car and a kite", (Thing(1, "car"), Thing(3, "kite")), "white", ("car", "kite"))
    picture = Image.new("RGB", (256, 256))

    def names(_picture: Image.Image, box: Box) -> list[str]:
        return ["car", "ball"] if box.left < 0.4 else [other, "ball"]

    monkeypatch.setattr(judge._scorer, "names", names)

    other = "kite"
    assert judge.shows(picture, pair, 3)
    other = "car"
    assert not judge.shows(picture, pair, 3)


def test_the_grid_shows_every_sample() -> None:
    """Eight in a row, each from its own seed; clear ones on white."""
    sheet = grid(lambda prompt, seed: Image.new("RGBA", (256, 256), (seed, 0, 0, 0)), ["a", "transparent", *"bcdefgh"])

    assert sheet.size == (8 * 256, 2 * 256)
    pixels = np.asarray(sheet)
    assert pixels[10, 10].tolist() == [0, 0, 0]
    assert pixels[10, 300].tolist() == [255, 255, 255]
    assert pixels[300, 10].tolist() == [8, 0, 0]
