"""The art as one array of sprites: `python -m image_model.sprites`.

A sprite is 192x192 pixels: red, green, blue, alpha, and how far the pixel belongs to the part that takes on another
colour when a colour is asked for.
"""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from image_model.colours import COLOURS, recolourable_part
from image_model.concepts import Concept, read_concepts
from image_model.paths import PACKAGES, SPRITES

EDGE = 192
_SHAPES = {
    "circle": '<circle cx="64" cy="64" r="62" fill="#e53935"/>',
    "square": '<rect x="4" y="4" width="120" height="120" fill="#1e88e5"/>',
    "triangle": '<polygon points="64,6 124,116 4,116" fill="#fdd835"/>',
    "rectangle": '<rect x="2" y="30" width="124" height="68" fill="#43a047"/>',
    "oval": '<ellipse cx="64" cy="64" rx="62" ry="40" fill="#8e24aa"/>',
    "diamond shape": '<polygon points="64,2 114,64 64,126 14,64" fill="#fb8c00"/>',
    "ring": '<circle cx="64" cy="64" r="48" fill="none" stroke="#00acc1" stroke-width="26"/>',
    "cross": '<path d="M44 4h40v40h40v40h-40v40h-40v-40h-40v-40h40z" fill="#e53935"/>',
}


@dataclass(frozen=True, slots=True)
class SpriteInfo:
    """What a sprite shows. `is_recolourable` says whether enough of it has one colour."""

    name: str
    keywords: tuple[str, ...]
    style: str
    group: str
    is_plural: bool
    is_recolourable: bool


@dataclass(frozen=True, slots=True)
class Sprites:
    """All sprites: `pixels` is uint8 [N, 192, 192, 5], `infos` their descriptions."""

    pixels: NDArray[np.uint8]
    infos: tuple[SpriteInfo, ...]

    @classmethod
    def load(cls, folder: Path = SPRITES) -> "Sprites":
        """Open what `main` has made; the pixels stay on disk until they are used."""
        entries = json.loads((folder / "sprites.json").read_text("utf-8"))
        infos = tuple(SpriteInfo(**(entry | {"keywords": tuple(entry["keywords"])})) for entry in entries)
        return cls(np.load(folder / "sprites.npy", mmap_mode="r"), infos)


def main() -> None:
    """Make the array, if it is not there yet."""
    if (SPRITES / "sprites.json").exists():
        return
    SPRITES.mkdir(parents=True, exist_ok=True)
    drawn = [(concept, style, fitted(picture)) for concept, style, picture in _pictures()]
    pixels = np.stack([_with_part(picture) for _, _, picture in drawn])
    np.save(SPRITES / "sprites.npy", pixels)
    infos = [_info(concept, style, sprite) for (concept, style, _), sprite in zip(drawn, pixels, strict=True)]
    (SPRITES / "sprites.json").write_text(json.dumps([asdict(info) for info in infos], indent=0), "utf-8")


def fitted(picture: Image.Image, edge: int = EDGE) -> Image.Image:
    """Return what is drawn in an RGBA picture, without its empty rim, in the middle of a square of this edge."""
    box = picture.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    cut = picture.crop(box)
    scale = edge / max(cut.size)
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    canvas = Image.new("RGBA", (edge, edge))
    canvas.paste(cut.resize(size, Resampling.LANCZOS), ((edge - size[0]) // 2, (edge - size[1]) // 2))
    return canvas


def _pictures() -> Iterator[tuple[Concept, str, Image.Image]]:
    noto, fluent = _noto(PACKAGES / "noto/package"), _fluent(PACKAGES / "fluent/package/assets")
    for concept in read_concepts(PACKAGES / "emojibase"):
        for style, find in (("flat", noto), ("3d", fluent)):
            picture = find(concept.hexcode)
            if picture is not None:
                yield concept, style, picture
    for name, body in _SHAPES.items():
        yield Concept(name, (), "", "shape"), "flat", _raster(body, 128)


def _noto(folder: Path) -> Callable[[str], Image.Image | None]:
    icons = json.loads((folder / "icons.json").read_text("utf-8"))
    names = json.loads((folder / "chars.json").read_text("utf-8"))

    def find(hexcode: str) -> Image.Image | None:
        name = _first(names, hexcode)
        name = icons["aliases"].get(name, {}).get("parent", name)
        icon: dict[str, Any] | None = icons["icons"].get(name)
        return _raster(icon["body"], icon.get("width", icons["width"])) if icon else None

    return find


def _fluent(folder: Path) -> Callable[[str], Image.Image | None]:
    files = {file.stem: file for file in folder.iterdir()}

    def find(hexcode: str) -> Image.Image | None:
        file = _first(files, hexcode)
        return file and Image.open(file).convert("RGBA")

    return find


def _first(table: dict[str, Any], hexcode: str) -> Any:
    code = hexcode.lower()
    return table.get(code) or table.get(code.replace("-fe0f", "")) or table.get(f"{code}-fe0f")


def _raster(body: str, width: int) -> Image.Image:
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {spaces} viewBox="0 0 {width} 128">{body}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=EDGE + 32, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _with_part(picture: Image.Image) -> NDArray[np.uint8]:
    rgba = np.asarray(picture)
    return np.concatenate([rgba, recolourable_part(rgba)[..., None]], -1)


def _info(concept: Concept, style: str, sprite: NDArray[np.uint8]) -> SpriteInfo:
    return SpriteInfo(
        name=concept.name,
        keywords=concept.keywords,
        style=style,
        group=concept.group,
        is_plural=concept.is_plural,
        is_recolourable=_may_be_recoloured(concept) and bool(sprite[..., 4].sum() > 0.35 * sprite[..., 3].sum()),
    )


def _may_be_recoloured(concept: Concept) -> bool:
    """Whether it would be itself in another colour: no people, and nothing that is called by its colour."""
    is_person = concept.group.startswith(("person", "hand", "body", "family"))
    return not is_person and not set(COLOURS) & set(concept.name.split())


if __name__ == "__main__":
    main()
