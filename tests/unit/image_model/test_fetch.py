"""Packages are what the manifest says they are."""

import hashlib
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from image_model.fetch import check, read_manifest, unpack


def test_the_manifest_is_whole() -> None:
    """Every package has a version, a hash and a licence that weights may be made under."""
    entries = read_manifest()

    assert {"noto", "fluent", "emojibase"} == set(entries)
    for entry in entries.values():
        assert len(entry["sha256"]) == 64
        assert entry["license"] in ("Apache-2.0", "MIT")
        assert entry["version"]
        assert entry["members"]


def test_other_content_is_refused() -> None:
    """One bit of difference is enough."""
    sha256 = hashlib.sha256(b"right").hexdigest()

    check(b"right", sha256, "thing")
    with pytest.raises(ValueError, match=r"thing is not the archive in the manifest"):
        check(b"wrong", sha256, "thing")


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    """Other members stay in the archive."""
    archive = tmp_path / "thing.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("package/a.json", "package/b.json"):
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, BytesIO(b"{}"))

    unpack(archive, ["package/a"], tmp_path / "thing")

    assert [file.name for file in (tmp_path / "thing/package").iterdir()] == ["a.json"]
