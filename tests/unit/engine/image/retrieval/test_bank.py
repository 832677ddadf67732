"""What a phrase means, of all there is in a bank."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from openhearth.engine.image.retrieval.bank import Bank

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of their own ways

NAMES = {
    "automobile": (["car"], [], "flat"),
    "red apple": ([], ["fruit"], "flat"),
    "green apple": ([], ["fruit"], "flat"),
    "orange": ([], ["fruit"], "flat"),
    "cat": ([], ["kitten"], "3d"),
    "cat face": ([], ["kitten"], "flat"),
}


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Give a bank where meanings are all the same, so that words decide."""
    entries = [
        {"name": name, "aliases": aliases, "keywords": keywords, "style": style, "offset": 0, "length": 0}
        for name, (aliases, keywords, style) in NAMES.items()
    ]
    (tmp_path / "bank.json").write_text(json.dumps(entries))
    (tmp_path / "sprites.bin").write_bytes(b"")
    np.save(tmp_path / "meanings.npy", np.ones((len(NAMES), 4), np.float16) / 2)
    return Bank(tmp_path, _same_meaning)


def _same_meaning(texts: Sequence[str]) -> object:
    return np.ones((len(texts), 4), np.float32) / 2


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("blue car", "automobile"),
        ("red apple", "red apple"),
        ("green apple", "green apple"),
        ("orange cat", "cat"),
        ("orange", "orange"),
        ("cat face", "cat face"),
        ("black cat", "cat"),
    ],
)
def test_words_find_sprites(bank: Bank, phrase: str, name: str) -> None:
    """Names and what else people say come before keywords; colours do not mislead."""
    assert bank.find(phrase)[0].name == name


def test_meaning_decides_where_words_do_not(tmp_path: Path) -> None:
    """Without a word in common the nearest meaning wins."""
    entries: list[dict[str, Any]] = [
        {"name": name, "aliases": [], "keywords": [], "style": "flat", "offset": 0, "length": 0}
        for name in ("mage", "robot")
    ]
    (tmp_path / "bank.json").write_text(json.dumps(entries))
    (tmp_path / "sprites.bin").write_bytes(b"")
    np.save(tmp_path / "meanings.npy", np.eye(2, dtype=np.float16))
    bank = Bank(tmp_path, lambda texts: np.array([[0.9, 0.1]] * len(texts), np.float32))

    assert [sprite.name for sprite in bank.find("wizard")] == ["mage"]


def test_a_style_is_taken_where_there_is_one(folder: Path) -> None:
    """Both styles answer to a name; a style that is asked for wins if the thing has it."""
    bank = Bank(folder / "bank", lambda texts: np.zeros((len(texts), 24), np.float32))

    assert [sprite.style for sprite in bank.find("red apple")] == ["flat", "3d"]
    assert [sprite.style for sprite in bank.find("red apple", "3d")] == ["3d"]
    assert [sprite.style for sprite in bank.find("blue square", "3d")] == ["flat"]
    assert isinstance(bank.picture(bank.find("blue square")[0]), Image.Image)
    assert bank.picture(bank.find("blue square")[0]).getpixel((16, 16)) == (0, 0, 255, 255)
