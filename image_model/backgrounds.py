"""Backgrounds: plain colours, and sixteen simple landscapes that are drawn anew each time."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from image_model.colours import BACKGROUND_COLOURS

EDGE = 256
Colour = tuple[int, int, int]
Draw = ImageDraw.ImageDraw


@dataclass(frozen=True, slots=True)
class Background:
    """What is behind the things of a scene. `has_ground` says that they stand and cast a shadow."""

    phrases: tuple[str, ...]
    paint: Callable[[Random], Image.Image]
    has_ground: bool = False


def plain(colour: Colour, random: Random) -> Image.Image:
    """Return a canvas of about this colour, now and then a little lighter towards one side."""
    base = _varied(colour, random, 8)
    if random.random() < 0.75:
        return Image.new("RGB", (EDGE, EDGE), base)
    return _fade(base, _varied(colour, random, 26))


def _fade(top: Colour, bottom: Colour) -> Image.Image:
    ramp = np.linspace(0, 1, EDGE, dtype=np.float32)[:, None, None]
    rows = np.array(top, np.float32) * (1 - ramp) + np.array(bottom, np.float32) * ramp
    return Image.fromarray(np.broadcast_to(rows, (EDGE, EDGE, 3)).round().astype(np.uint8))


def _varied(colour: Colour, random: Random, amount: int) -> Colour:
    red, green, blue = (min(255, max(0, channel + random.randint(-amount, amount))) for channel in colour)
    return red, green, blue


def _hills(draw: Draw, random: Random, colour: Colour, top: float, *, swell: float = 0.05) -> None:
    phase, waves = random.uniform(0, 6.28), random.uniform(0.7, 1.6)
    heights = [EDGE * (top + swell * np.sin(phase + waves * 6.28 * x / EDGE)) for x in range(0, EDGE + 8, 8)]
    outline = [(8.0 * number, height) for number, height in enumerate(heights)]
    draw.polygon([(0, EDGE), *outline, (EDGE, EDGE)], fill=_varied(colour, random, 12))


def _clouds(picture: Image.Image, random: Random, count: int, colour: Colour = (255, 255, 255)) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(count):
        x, y, size = random.uniform(0, EDGE), random.uniform(0.05, 0.4) * EDGE, random.uniform(14, 26)
        for shift, grow in ((-1.1, 0.7), (0, 1.0), (1.1, 0.75)):
            radius = size * grow
            draw.ellipse(
                (x + shift * size - radius, y - radius * 0.7, x + shift * size + radius, y + radius * 0.7), fill=colour
            )


def _stars(picture: Image.Image, random: Random, bottom: float) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(random.randint(18, 40)):
        x, y, radius = random.uniform(0, EDGE), random.uniform(0, bottom) * EDGE, random.choice((1, 1, 1.5, 2))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 250, random.randint(190, 255)))


def _land(
    sky: tuple[Colour, Colour], ground: Colour, *, clouds: int = 0, top: tuple[float, float] = (0.55, 0.68)
) -> Callable[[Random], Image.Image]:
    def paint(random: Random) -> Image.Image:
        picture = _fade(_varied(sky[0], random, 12), _varied(sky[1], random, 12))
        _clouds(picture, random, random.randint(0, clouds))
        _hills(ImageDraw.Draw(picture), random, ground, random.uniform(*top), swell=random.uniform(0, 0.05))
        return picture

    return paint


_DAY = ((120, 190, 246), (206, 234, 252))


def _night(random: Random) -> Image.Image:
    picture = _fade(_varied((12, 16, 52), random, 8), _varied((44, 52, 110), random, 10))
    _stars(picture, random, 0.65)
    _hills(ImageDraw.Draw(picture), random, (20, 30, 44), random.uniform(0.7, 0.8))
    return picture


def _space(random: Random) -> Image.Image:
    picture = Image.new("RGB", (EDGE, EDGE), _varied((14, 10, 34), random, 8))
    _stars(picture, random, 1.0)
    return picture


def _sea(random: Random) -> Image.Image:
    picture = _land(_DAY, (40, 120, 200), clouds=2, top=(0.5, 0.62))(random)
    draw = ImageDraw.Draw(picture)
    for _ in range(random.randint(5, 12)):
        x, y, width = random.uniform(0, EDGE), random.uniform(0.68, 0.97) * EDGE, random.uniform(16, 40)
        draw.arc((x, y, x + width, y + 10), 200, 340, fill=(170, 214, 244), width=2)
    return picture


def _beach(random: Random) -> Image.Image:
    picture = _fade(*_DAY)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, EDGE * 0.45, EDGE, EDGE), fill=_varied((46, 150, 210), random, 10))
    _hills(draw, random, (242, 216, 156), random.uniform(0.62, 0.7), swell=0.03)
    return picture


def _sunset(random: Random) -> Image.Image:
    picture = _fade(_varied((108, 58, 140), random, 14), _varied((255, 158, 66), random, 12))
    draw = ImageDraw.Draw(picture)
    x, y, radius = random.uniform(0.2, 0.8) * EDGE, random.uniform(0.55, 0.68) * EDGE, random.uniform(24, 38)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 226, 120))
    _hills(draw, random, (74, 40, 66), random.uniform(0.7, 0.78))
    return picture


def _sky(random: Random) -> Image.Image:
    picture = _fade(_varied((92, 174, 244), random, 12), _varied((180, 222, 252), random, 10))
    _clouds(picture, random, random.randint(2, 4))
    return picture


def _forest(random: Random) -> Image.Image:
    picture = _fade((170, 214, 222), (206, 232, 206))
    draw = ImageDraw.Draw(picture)
    horizon = random.uniform(0.62, 0.7) * EDGE
    for number in range(9):
        x, height = number * 32 + random.uniform(-12, 12), random.uniform(70, 130)
        draw.polygon(
            [(x - 24, horizon + 4), (x, horizon - height), (x + 24, horizon + 4)],
            fill=_varied((34, 104, 62), random, 16),
        )
    _hills(draw, random, (92, 148, 70), horizon / EDGE, swell=0.01)
    return picture


def _mountains(random: Random) -> Image.Image:
    picture = _fade(*_DAY)
    draw = ImageDraw.Draw(picture)
    for number in range(4):
        x, peak, width = number * 80 + random.uniform(-20, 20), random.uniform(30, 90), random.uniform(70, 100)
        draw.polygon([(x - width, 180), (x, peak), (x + width, 180)], fill=_varied((112, 120, 142), random, 12))
        draw.polygon(
            [(x - width * 0.25, peak + (180 - peak) * 0.25), (x, peak), (x + width * 0.25, peak + (180 - peak) * 0.25)],
            fill=(246, 248, 252),
        )
    _hills(draw, random, (104, 160, 84), random.uniform(0.66, 0.72), swell=0.02)
    return picture


def _underwater(random: Random) -> Image.Image:
    picture = _fade(_varied((40, 160, 210), random, 12), _varied((8, 60, 130), random, 10))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.randint(8, 18)):
        x, y, radius = random.uniform(0, EDGE), random.uniform(0, EDGE), random.uniform(2, 7)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(170, 220, 244), width=2)
    return picture


def _city(random: Random) -> Image.Image:
    picture = _fade((176, 208, 238), (226, 234, 242))
    draw = ImageDraw.Draw(picture)
    for number in range(7):
        x, top = number * 40 + random.uniform(-8, 4), random.uniform(40, 120)
        draw.rectangle((x, top, x + 34, 190), fill=_varied((140, 148, 170), random, 22))
        for row in range(int((180 - top) // 20)):
            for column in (6, 20):
                draw.rectangle(
                    (x + column, top + 8 + row * 20, x + column + 8, top + 18 + row * 20), fill=(240, 232, 176)
                )
    draw.rectangle((0, 184, EDGE, EDGE), fill=_varied((96, 98, 106), random, 10))
    return picture


def _room(random: Random) -> Image.Image:
    wall = random.choice(((238, 222, 196), (206, 222, 232), (226, 208, 214), (214, 226, 206)))
    picture = Image.new("RGB", (EDGE, EDGE), _varied(wall, random, 8))
    draw = ImageDraw.Draw(picture)
    floor = random.uniform(0.64, 0.74) * EDGE
    draw.rectangle((0, floor, EDGE, EDGE), fill=_varied((168, 116, 72), random, 14))
    draw.rectangle((0, floor - 6, EDGE, floor), fill=(250, 248, 244))
    return picture


def _table(random: Random) -> Image.Image:
    picture = Image.new("RGB", (EDGE, EDGE), _varied((226, 216, 204), random, 14))
    draw = ImageDraw.Draw(picture)
    top = random.uniform(0.64, 0.72) * EDGE
    draw.rectangle((0, top, EDGE, EDGE), fill=_varied((156, 98, 54), random, 12))
    for line in range(int(top) + 14, EDGE, 18):
        draw.line((0, line, EDGE, line), fill=(132, 80, 44), width=2)
    return picture


def _rain(random: Random) -> Image.Image:
    picture = _land(((122, 134, 152), (168, 178, 190)), (98, 124, 96))(random)
    draw = ImageDraw.Draw(picture)
    for _ in range(random.randint(35, 60)):
        x, y = random.uniform(0, EDGE), random.uniform(0, EDGE)
        draw.line((x, y, x - 4, y + 14), fill=(206, 222, 240), width=2)
    return picture


SCENES: dict[str, Background] = {
    "meadow": Background(
        ("on a green meadow", "in a meadow", "on the grass", "in a grassy field", "in a park"),
        _land(_DAY, (96, 178, 70), clouds=3),
        True,
    ),
    "night": Background(("at night", "under a starry sky", "on a starry night", "in the night"), _night, True),
    "space": Background(("in space", "in outer space", "among the stars"), _space),
    "sea": Background(("on the sea", "in the ocean", "on the water", "on a lake"), _sea, False),
    "beach": Background(("on a beach", "on the beach", "at the seaside"), _beach, True),
    "desert": Background(
        ("in the desert", "in a desert", "on the sand"),
        _land(((120, 196, 250), (246, 232, 200)), (228, 184, 104)),
        True,
    ),
    "snow": Background(
        ("in the snow", "on snow", "in a snowy landscape", "in winter"),
        _land(((168, 202, 232), (222, 234, 244)), (244, 248, 254)),
        True,
    ),
    "sunset": Background(("at sunset", "in front of a sunset", "in the evening"), _sunset, True),
    "sky": Background(("in the sky", "in a blue sky", "among the clouds"), _sky),
    "forest": Background(("in a forest", "in the forest", "in the woods", "among trees"), _forest, True),
    "mountains": Background(("in the mountains", "in front of mountains"), _mountains, True),
    "underwater": Background(("under water", "underwater", "under the sea"), _underwater),
    "city": Background(("in a city", "in the city", "on a street", "in town"), _city, True),
    "room": Background(("in a room", "in a living room", "on a wooden floor"), _room, True),
    "table": Background(("on a table", "on a wooden table", "on the table"), _table, True),
    "rain": Background(("in the rain", "on a rainy day"), _rain, True),
}


def _plain(name: str, colour: Colour) -> Background:
    article = "an" if name[0] in "aeiou" else "a"
    phrases = (
        f"on {article} {name} background",
        f"in front of {article} {name} background",
        f"against {article} {name} background",
    )
    return Background(phrases, lambda random: plain(colour, random))


PLAIN = {name: _plain(name, colour) for name, colour in BACKGROUND_COLOURS.items()}


def unnamed(random: Random) -> Image.Image:
    """Return what is behind things when nothing is said about it: white, or something pale."""
    if random.random() < 0.6:
        return Image.new("RGB", (EDGE, EDGE), "white")
    pale = tuple(random.randint(196, 255) for _ in range(3))
    return plain((pale[0], pale[1], pale[2]), random)


def with_shadows(picture: Image.Image, boxes: list[tuple[float, float, float, float]]) -> Image.Image:
    """Return the picture with a soft shadow under each of the boxes: left, top, right, bottom in pixels."""
    shade = Image.new("L", (EDGE // 4, EDGE // 4))
    draw = ImageDraw.Draw(shade)
    for left, _, right, bottom in boxes:
        height = (right - left) * 0.07
        draw.ellipse((left / 4, (bottom - height * 1.2) / 4, right / 4, (bottom + height * 0.6) / 4), fill=110)
    soft = shade.filter(ImageFilter.GaussianBlur(0.8)).resize((EDGE, EDGE), Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", (EDGE, EDGE), (20, 24, 20)), picture, soft)
