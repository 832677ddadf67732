"""Members that may be of several JSON types. The right one is chosen by looking, so that an error names its place."""

from collections.abc import Callable
from typing import Any

from pydantic import Discriminator, Tag


def variant(name: str) -> Tag:
    """Mark one form of a member. Its name stays out of the path that an error gives."""
    return Tag(f"<{name}>")


def is_variant(part: str | int) -> bool:
    """Return whether a part of a pydantic error's path is the name of a form and not a place in the body."""
    return isinstance(part, str) and part.startswith("<")


def chosen_by(choose: Callable[[Any], str | None], *, expected: str) -> Discriminator:
    """Choose the form of a member by `choose`; if it gives `None`, the value had to be one of `expected`."""

    def discriminate(value: Any) -> str | None:
        return None if (name := choose(value)) is None else f"<{name}>"

    return Discriminator(discriminate, custom_error_type="unexpected_type", custom_error_message=expected)


def chosen_by_member(member: str) -> Discriminator:
    """Choose the form of an object by the value of one of its members, which the forms are named after."""

    def discriminate(value: Any) -> str | None:
        name = value.get(member) if isinstance(value, dict) else getattr(value, member, None)
        return f"<{name}>" if isinstance(name, str) else None

    discriminate.__name__ = member
    return Discriminator(discriminate)
