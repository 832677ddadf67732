"""Which emoji can be drawn, and what they are called."""

import json
from pathlib import Path

import pytest

from image_model.concepts import Concept, read_concepts


def test_flags_and_twins_are_left_out(tmp_path: Path) -> None:
    """Things stay; flags, parts of others, and men and women of one trade do not."""
    (tmp_path / "package/en").mkdir(parents=True)
    (tmp_path / "package/meta").mkdir()
    groups = {
        "groups": {"0": "people-body", "1": "flags"},
        "subgroups": {"0": "person-role", "1": "flag", "2": "family"},
    }
    entries = [
        {"label": "Cook", "hexcode": "1", "group": 0, "subgroup": 0, "tags": ["Chef"]},
        {"label": "man cook", "hexcode": "2", "group": 0, "subgroup": 0},
        {"label": "flag: Peru", "hexcode": "3", "group": 1, "subgroup": 1},
        {"label": "family", "hexcode": "4", "group": 0, "subgroup": 2},
        {"label": "regional indicator", "hexcode": "5"},
    ]
    (tmp_path / "package/meta/groups.json").write_text(json.dumps(groups))
    (tmp_path / "package/en/data.json").write_text(json.dumps(entries))

    assert read_concepts(tmp_path) == [Concept("cook", ("chef",), "1", "person-role")]


@pytest.mark.parametrize(("name", "is_plural"), [("scissors", True), ("bus", False), ("glass", False), ("dog", False)])
def test_plurals(name: str, is_plural: bool) -> None:
    """What takes no article."""
    assert Concept(name, (), "", "").is_plural is is_plural
