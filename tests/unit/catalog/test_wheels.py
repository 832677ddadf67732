"""Asking pip where a wheel lies."""

from pathlib import Path

import pytest

from openhearth.catalog.wheels import find_wheel
from openhearth.errors import ConfigurationError
from tests.unit.catalog.builders import build_wheel


def test_a_wheel_is_found_where_pip_looks(wheelhouse: Path, tmp_path: Path) -> None:
    """The settings of pip decide where a wheel comes from; here, a folder."""
    content = tmp_path / "model.gguf"
    content.touch()
    build_wheel(wheelhouse, content, member="tiny_model/model.gguf")

    url = find_wheel("tiny-model==1.0")

    assert url == (wheelhouse / "tiny_model-1.0-py3-none-any.whl").as_uri()


def test_a_missing_wheel_is_reported_in_the_words_of_pip(wheelhouse: Path) -> None:
    """What pip complains of is passed on as one sentence."""
    with pytest.raises(
        ConfigurationError, match=r"tiny-model==1\.0 cannot be fetched; pip says: No matching distribution"
    ):
        find_wheel("tiny-model==1.0")
