"""Write the bank that is served: `python -m image_model.bank`."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from image_model.paths import PACKAGE
from image_model.sprites import Sprites
from image_model.text import encoder

_EDGE = 160
_QUALITY = 76
_ALIASES = {
    "airplane": ("plane", "aeroplane"),
    "automobile": ("car",),
    "beer mug": ("beer",),
    "bicycle": ("bike",),
    "billed cap": ("cap",),
    "bouquet": ("flowers",),
    "cherries": ("cherry",),
    "chipmunk": ("squirrel",),
    "clapper board": ("movie",),
    "crescent moon": ("moon",),
    "deciduous tree": ("tree",),
    "delivery truck": ("truck", "lorry"),
    "evergreen tree": ("pine", "fir"),
    "ewe": ("sheep",),
    "fish": ("goldfish",),
    "gem stone": ("gem", "diamond", "jewel"),
    "health worker": ("doctor", "nurse"),
    "honey pot": ("honey",),
    "hot beverage": ("coffee", "cup", "mug", "cup of coffee", "cup of tea", "tea"),
    "house": ("home",),
    "kitchen knife": ("knife",),
    "laptop": ("computer",),
    "locomotive": ("train",),
    "mage": ("wizard", "witch"),
    "mobile phone": ("phone", "smartphone"),
    "ogre": ("monster",),
    "person with crown": ("king", "queen"),
    "police officer": ("policeman", "policewoman"),
    "red heart": ("heart",),
    "sailboat": ("boat", "sailing boat", "sailing ship"),
    "ship": ("cruise ship",),
    "shortcake": ("cake",),
    "snowman without snow": ("snowman",),
    "soccer ball": ("ball", "football"),
    "soft ice cream": ("ice cream", "ice cream cone"),
    "star": ("yellow star",),
    "sun": ("sunshine",),
    "sunflower": ("flower",),
    "t-shirt": ("shirt", "tshirt"),
    "tangerine": ("orange",),
    "top hat": ("hat",),
    "wine glass": ("wine", "glass"),
    "wrapped gift": ("gift", "present"),
}
"""What people say for what emojibase names otherwise."""


def main() -> None:
    """Write the bank of all sprites."""
    write_bank(Sprites.load(), PACKAGE / "bank")


def write_bank(sprites: Sprites, folder: Path) -> None:
    """Write sprites as a folder that `openhearth.engine.image.retrieval.bank.Bank` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, data = [], bytearray()
    for info, pixels in zip(sprites.infos, sprites.pixels, strict=True):
        file = io.BytesIO()
        picture = Image.fromarray(pixels[..., :4]).resize((_EDGE, _EDGE), Resampling.LANCZOS)
        picture.save(file, "WEBP", quality=_QUALITY)
        entry = {"name": info.name, "aliases": _ALIASES.get(info.name, ()), "keywords": info.keywords}
        entries.append(entry | {"style": info.style, "offset": len(data), "length": file.tell()})
        data += file.getvalue()
    (folder / "sprites.bin").write_bytes(data)
    (folder / "bank.json").write_text(json.dumps(entries, separators=(",", ":")), "utf-8")
    names = sorted({info.name for info in sprites.infos})
    parts = [encoder().embeddings(names[start : start + 64]).numpy() for start in range(0, len(names), 64)]
    np.save(folder / "meanings.npy", np.concatenate(parts).astype(np.float16))


if __name__ == "__main__":
    main()
