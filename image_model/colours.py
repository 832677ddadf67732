"""The colours that captions name, and how a sprite takes one on."""

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 40, 40),
    "orange": (245, 130, 20),
    "yellow": (250, 214, 30),
    "green": (56, 160, 62),
    "teal": (20, 165, 160),
    "blue": (36, 98, 220),
    "purple": (138, 54, 190),
    "pink": (244, 118, 178),
    "brown": (128, 78, 42),
    "black": (34, 34, 36),
    "gray": (138, 140, 144),
    "white": (244, 244, 244),
}
BACKGROUND_COLOURS = COLOURS | {
    "light blue": (160, 208, 250),
    "light green": (176, 230, 160),
    "beige": (240, 226, 196),
    "navy blue": (22, 34, 92),
}
_HUE_WIDTH = 34.0
_PALE = 0.22

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def recolourable_part(rgba: Pixels) -> Pixels:
    """Return, as uint8 [H, W], how far each pixel of a sprite has the colour that most of it has."""
    hue, saturation, value = _hsv(rgba[..., :3])
    weight = rgba[..., 3].astype(np.float32) / 255
    vivid = weight * (saturation >= _PALE) * (value > 0.15)
    pale = weight * (saturation < _PALE) * (value > 0.25)
    if pale.sum() > vivid.sum():
        part = np.clip((_PALE + 0.1 - saturation) / 0.1, 0, 1) * np.clip((value - 0.2) / 0.1, 0, 1)
    else:
        bins = np.bincount((hue / 10).astype(int).ravel() % 36, (vivid * saturation).ravel(), 36)
        peak = 10 * int(np.argmax(bins + np.roll(bins, 1) + np.roll(bins, -1))) + 5
        distance = np.abs((hue - peak + 180) % 360 - 180)
        near = np.clip((_HUE_WIDTH - distance) / 8, 0, 1)
        part = near * np.clip((saturation - 0.12) / 0.1, 0, 1)
    return np.asarray(255 * part * (rgba[..., 3] > 0), np.uint8)


def recoloured(rgba: Pixels, part: Pixels, colour: tuple[int, int, int]) -> Pixels:
    """Return a sprite whose `part` has this colour, with its light and shade kept."""
    rgb = rgba[..., :3].astype(np.float32)
    member = part.astype(np.float32) / 255
    light = rgb @ np.array([0.3, 0.59, 0.11], np.float32)
    weight = member * rgba[..., 3]
    mean = float((light * weight).sum() / max(weight.sum(), 1))
    shade = np.clip((light - mean) / 255, -0.5, 0.5)[..., None]
    target = np.array(colour, np.float32)
    changed = np.where(shade < 0, target * (1 + 1.3 * shade), target + (255 - target) * 0.9 * shade)
    mixed = rgb + (changed - rgb) * member[..., None]
    return np.concatenate([mixed.round().astype(np.uint8), rgba[..., 3:4]], -1)


def _hsv(rgb: Pixels) -> tuple[Floats, Floats, Floats]:
    """Return hue in degrees, saturation and value from 0 to 1."""
    red, green, blue = (rgb[..., channel].astype(np.float32) / 255 for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    span = value - np.minimum(np.minimum(red, green), blue)
    safe = np.maximum(span, 1e-6)
    hue = np.where(
        value == red, (green - blue) / safe, np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    saturation = span / np.maximum(value, 1e-6)
    return np.asarray((60 * hue) % 360, np.float32), np.asarray(saturation, np.float32), np.asarray(value, np.float32)
