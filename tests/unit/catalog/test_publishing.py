"""How files appear among the models."""

from pathlib import Path

import pytest

from openhearth.catalog.publishing import publish_directory, publish_file


def build(target: Path) -> None:
    """Write one file into a directory, and refuse to overwrite."""
    assert not list(target.iterdir())
    (target / "config.json").write_text("new", encoding="utf-8")


def fail(target: Path) -> None:
    """Write half of a directory."""
    build(target)
    raise RuntimeError("the power went")


def test_a_directory_appears_with_its_content(tmp_path: Path) -> None:
    """What was built is in place, and nothing is left of the building site."""
    path = publish_directory(tmp_path, "tiny", build)

    assert path == tmp_path / "tiny"
    assert (path / "config.json").read_text(encoding="utf-8") == "new"
    assert not list((tmp_path / ".staging").iterdir())


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Nothing of the old directory stays in the new one."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "old.json").touch()

    publish_directory(tmp_path, "tiny", build)

    assert [file.name for file in (tmp_path / "tiny").iterdir()] == ["config.json"]


def test_a_failed_build_changes_nothing(tmp_path: Path) -> None:
    """A directory that could not be finished never appears, and the next attempt starts with an empty one."""
    with pytest.raises(RuntimeError):
        publish_directory(tmp_path, "tiny", fail)
    assert not (tmp_path / "tiny").exists()

    publish_directory(tmp_path, "tiny", build)

    assert (tmp_path / "tiny" / "config.json").exists()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A file has its old content until the new one is complete."""
    file = tmp_path / "notes" / "tiny.json"
    publish_file(file, lambda staging: _write(staging, "old"))

    with pytest.raises(RuntimeError):
        publish_file(file, _fail_to_write)
    kept = file.read_text(encoding="utf-8")
    publish_file(file, lambda staging: _write(staging, "new"))

    assert (kept, file.read_text(encoding="utf-8")) == ("old", "new")
    assert list(file.parent.iterdir()) == [file]


def _write(file: Path, content: str) -> None:
    file.write_text(content, encoding="utf-8")


def _fail_to_write(file: Path) -> None:
    _write(file, "half")
    raise RuntimeError("the power went")
