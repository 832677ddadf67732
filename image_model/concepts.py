"""Which emoji are things that can be drawn, and what they are called."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_GROUPS_LEFT_OUT = {"component", "flags", "symbols"}
_SUBGROUPS_LEFT_OUT = {"family", "person-symbol", "time", "place-map"}
_SYMBOLS_KEPT = {"warning"}
_GENDERS = ("man ", "woman ", "men ", "women ")
_PLURALS_IN_S = {"bus", "octopus", "cactus", "hippopotamus", "walrus", "lotus", "stegosaurus", "compass", "glass"}


@dataclass(frozen=True, slots=True)
class Concept:
    """Something to draw: its name, words that also mean it, and the code points of its emoji."""

    name: str
    keywords: tuple[str, ...]
    hexcode: str
    group: str

    @property
    def is_plural(self) -> bool:
        """Whether the name takes no article."""
        last = self.name.split()[-1]
        return last.endswith("s") and not last.endswith("ss") and last not in _PLURALS_IN_S


def read_concepts(emojibase: Path) -> list[Concept]:
    """Return what emojibase lists, without flags, symbols, families, and men and women of one trade."""
    groups = json.loads((emojibase / "package/meta/groups.json").read_text("utf-8"))
    entries = json.loads((emojibase / "package/en/data.json").read_text("utf-8"))
    return list(_concepts(entries, groups["groups"], groups["subgroups"]))


def _concepts(entries: list[dict[str, object]], groups: dict[str, str], subgroups: dict[str, str]) -> Iterator[Concept]:
    for entry in entries:
        group, subgroup = groups.get(str(entry.get("group")), ""), subgroups.get(str(entry.get("subgroup")), "")
        name = str(entry["label"]).lower()
        if _is_drawable(name, group, subgroup):
            tags = tuple(str(tag).lower() for tag in entry.get("tags") or ())  # type: ignore[attr-defined]
            yield Concept(name.replace("’", "'"), tags, str(entry["hexcode"]), subgroup)


def _is_drawable(name: str, group: str, subgroup: str) -> bool:
    if group in _GROUPS_LEFT_OUT and subgroup not in _SYMBOLS_KEPT:
        return False
    is_twin = name.startswith(_GENDERS) or name.endswith((" facing right", " button"))
    return bool(group) and subgroup not in _SUBGROUPS_LEFT_OUT and ":" not in name and not is_twin
