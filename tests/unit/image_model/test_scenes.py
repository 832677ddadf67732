"""Scenes: what they show, and which of them are kept from training."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from image_model.backgrounds import PLAIN, SCENES, unnamed, with_shadows
from image_model.data import SceneStream, collate, copied, planes
from image_model.scenes import COLOURED_FOR_TEST, Imagination, Split, Thing, is_held_out
from image_model.sprites import Sprites


def test_scenes_are_drawn_as_described(sprites: Sprites) -> None:
    """A thing in another colour is shown in its own, and drawn in the other; the same seed draws the same."""
    imagination = Imagination(sprites, "train")
    scene = imagination.described((Thing(0, "ball", "blue"),), Random(1), background="transparent")

    example, again = imagination.draw(scene, Random(5)), imagination.draw(scene, Random(5))

    assert example.colours == ("blue",)
    assert "transparent background" in example.background
    assert "blue ball" in scene.caption
    assert "transparent" in scene.caption
    assert (example.target == again.target).all()
    assert (example.target[..., 3] == example.canvas[..., 3]).all()
    shown, drawn = (picture[picture[..., 3] == 255].mean(0) for picture in (example.canvas, example.target))
    assert shown[0] > 200 > 100 > shown[2]
    assert drawn[2] > 150 > 100 > drawn[0]
    assert example.covers[0].max() == 1
    assert not example.covers[1:].any()


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_what_is_held_out_is_never_trained_on(sprites: Sprites, split: Split) -> None:
    """Every scene belongs to one split; things that are held out are in no training scene."""
    imagination, random = Imagination(sprites, split), Random(3)

    scenes = [imagination.scene(random) for _ in range(150)]

    for scene in scenes:
        names = {sprites.infos[thing.sprite].name for thing in scene.things}
        coloured = {sprites.infos[thing.sprite].name for thing in scene.things if thing.colour}
        if split == "train":
            assert not any(is_held_out(name) for name in names)
            assert coloured.isdisjoint(COLOURED_FOR_TEST)
            assert len(names) < 2 or not is_held_out(*names)
    assert {len(scene.things) for scene in scenes} >= {1, 2}


def test_some_things_are_held_out() -> None:
    """About one in ten, and always the same."""
    share = sum(is_held_out(f"thing {number}") for number in range(1000)) / 1000

    assert 0.06 < share < 0.14
    assert is_held_out("a", "b") == is_held_out("b", "a")


@pytest.mark.parametrize("name", [*PLAIN, *SCENES])
def test_every_background_can_be_painted(name: str) -> None:
    """On a canvas of 256x256 pixels, and a little different each time for landscapes."""
    background = {**PLAIN, **SCENES}[name]

    picture, other = background.paint(Random(1)), background.paint(Random(2))

    assert picture.size == (256, 256)
    assert picture.mode == "RGB"
    assert np.abs(np.asarray(picture, int) - np.asarray(other, int)).max() > 0
    assert background.phrases


def test_shadows_lie_under_things() -> None:
    """Below the middle of a box it is darker, elsewhere it is not."""
    picture = with_shadows(Image.new("RGB", (256, 256), "white"), [(64, 64, 192, 192)])

    assert np.asarray(picture)[190, 128, 0] < 200
    assert np.asarray(picture)[20, 20, 0] == 255


def test_an_unnamed_background_is_pale() -> None:
    """White, or nearly."""
    assert all(np.asarray(unnamed(Random(seed))).min() > 160 for seed in range(20))


def test_batches_are_tensors(sprites: Sprites) -> None:
    """Examples side by side, premultiplied for the autoencoder; a copy is shown what it is to draw."""
    imagination, random = Imagination(sprites, "train"), Random(4)
    examples = [imagination.draw(imagination.scene(random), random) for _ in range(3)]

    batch = collate([*examples, copied(examples[0])])

    assert batch.targets.shape == (4, 256, 256, 4)
    assert batch.covers.shape == (4, 4, 16, 16)
    assert batch.captions[3] == ""
    assert (batch.canvases[3] == batch.targets[0]).all()
    values = planes(batch.canvases)
    assert values.shape == (4, 4, 256, 256)
    assert (values[:, :3] <= values[:, 3:] + 1e-6).all()


def test_a_stream_repeats_itself(sprites: Sprites, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed gives the same scenes; all of them can be copies."""
    monkeypatch.setattr(Sprites, "load", lambda: sprites)

    first, again, copy = (next(iter(SceneStream("train", 7, copies=share))) for share in (0.0, 0.0, 1.0))

    assert first.caption == again.caption
    assert (first.target == again.target).all()
    assert copy.caption == ""


def test_a_canvas_may_have_its_background(sprites: Sprites) -> None:
    """Then nothing is said of it, and only what takes on another colour is drawn otherwise than it is shown."""
    imagination = Imagination(sprites, "train")
    scene = imagination.described((Thing(0, "ball", "blue"),), Random(1), background="meadow")

    example = imagination.draw(scene, Random(5), shows_background=True)

    uncovered = np.kron(example.covers[0] == 0, np.ones((16, 16))) > 0
    assert example.background == ""
    assert (example.canvas[..., 3] == 255).all()
    assert (example.canvas[uncovered] == example.target[uncovered]).mean() > 0.99
    assert (example.canvas != example.target).any()
