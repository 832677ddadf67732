"""What the names stand for that an operator writes."""

from pathlib import Path

import pytest

from openhearth.catalog.bundled import BUNDLED_MODELS
from openhearth.catalog.embedded import EMBEDDED_MODELS
from openhearth.catalog.gguf import GGUFModel
from openhearth.catalog.registration import FolderModel, HubModel
from openhearth.catalog.sources import Source, parse_source
from openhearth.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "source", "model_id"),
    [
        ("smollm2-135m-instruct", EMBEDDED_MODELS["smollm2-135m-instruct"], "smollm2-135m-instruct"),
        ("openhearth-clipart", BUNDLED_MODELS["openhearth-clipart"], "openhearth-clipart"),
        ("/models/Tiny-Q4.gguf", GGUFModel(Path("/models/Tiny-Q4.gguf")), "Tiny-Q4"),
        ("tiny.GGUF", GGUFModel(Path.cwd() / "tiny.GGUF"), "tiny"),
        ("/models/tiny", FolderModel(Path("/models/tiny")), "tiny"),
        ("./tiny", FolderModel(Path.cwd() / "tiny"), "tiny"),
        ("../tiny/", FolderModel(Path.cwd().parent / "tiny"), "tiny"),
        ("~/tiny", FolderModel(Path.home() / "tiny"), "tiny"),
        ("org/Tiny-1.0", HubModel("org/Tiny-1.0", None), "org/Tiny-1.0"),
        ("org/tiny@refs/pr/1", HubModel("org/tiny", "refs/pr/1"), "org/tiny@refs/pr/1"),
    ],
)
def test_each_form_has_its_source(text: str, source: Source, model_id: str) -> None:
    """Embedded names, files, folders and repositories are told apart by how they are written."""
    parsed = parse_source(text)

    assert parsed == source
    assert parsed.id == model_id


def test_any_other_name_has_no_source() -> None:
    """A plain name that openhearth does not bring along can only be a folder that is already there."""
    assert parse_source("my-model") is None


@pytest.mark.parametrize("text", ["", "a/b/c", "org/", "org/tiny@"])
def test_what_is_no_name_is_refused(text: str) -> None:
    """Anything else is refused with the forms that exist."""
    with pytest.raises(ConfigurationError, match="does not name a model"):
        parse_source(text)
