"""The reference says everything there is to say, and nothing that is not there."""

import re
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from openhearth.catalog.bundled import BUNDLED_MODELS
from openhearth.catalog.embedded import EMBEDDED_MODELS
from openhearth.catalog.folders import TEXT_ARCHITECTURES
from openhearth.cli import command
from openhearth.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
SETTINGS = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
CLI = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")


def sections(text: str, level: str) -> dict[str, str]:
    """Return the text under each heading of a level."""
    parts = re.split(rf"^{level} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_setting_has_a_heading() -> None:
    """The settings of the reference are the settings of the program."""
    assert set(sections(SETTINGS, "###")) == set(Settings.model_fields)


def test_every_default_is_told() -> None:
    """A default that is a number or a word stands in the setting's section."""
    described = sections(SETTINGS, "###")
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, str | int | float | Path):
            default = str(field.default).lower() if isinstance(field.default, bool) else field.default
            assert f"Default: `{default}`" in " ".join(described[name].split()), name
        else:
            assert "Default: " in described[name], name


def test_every_command_has_a_heading() -> None:
    """The commands of the reference are the commands of the program, with their options and arguments."""
    described = {heading.removeprefix("openhearth "): text for heading, text in sections(CLI, "##").items()}
    commands = dict(leaves(typer.main.get_command(command)))

    assert set(described) == set(commands)
    for name, leaf in commands.items():
        usage = described[name].strip().splitlines()[0]
        for parameter in leaf.params:
            word = (
                parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.metavar or parameter.name)
            )
            assert word.upper() in usage.upper(), (name, word)


def leaves(group: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return every command below `group` with the words that call it."""
    if not isinstance(group, TyperGroup):
        return [(prefix.strip(), group)]
    return [leaf for name, child in group.commands.items() for leaf in leaves(child, f"{prefix} {name}")]


def test_every_embedded_model_is_named() -> None:
    """Who reads about `pull` finds the names of the models that come along."""
    assert all(f"`{name}`" in CLI for name in [*EMBEDDED_MODELS, *BUNDLED_MODELS])


def test_every_supported_family_is_named() -> None:
    """Who looks for another model finds the families that are supported."""
    howto = (DOCS / "howto" / "models.md").read_text(encoding="utf-8")

    assert all(re.sub(r"\d?ForCausalLM", "", name) in howto for name in TEXT_ARCHITECTURES)
