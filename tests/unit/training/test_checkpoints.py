"""A checkpoint is used only if it is what it was when it was sealed."""

from pathlib import Path

import pytest

from openhearth.training.checkpoints import MANIFEST, first_whole, is_whole, seal


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a sealed checkpoint of two files."""
    directory = tmp_path / "checkpoint-1"
    (directory / "ref").mkdir(parents=True)
    (directory / "weights").write_bytes(b"12345678")
    (directory / "ref" / "weights").write_bytes(b"abc")
    seal(directory)
    return directory


def test_whole(checkpoint: Path) -> None:
    """A sealed checkpoint is whole, also after it was sealed again."""
    seal(checkpoint)

    assert is_whole(checkpoint)


@pytest.mark.parametrize(
    "harm",
    [
        lambda directory: (directory / MANIFEST).unlink(),
        lambda directory: (directory / MANIFEST).write_bytes(b'{"weights"'),
        lambda directory: (directory / MANIFEST).write_bytes(b"[]"),
        lambda directory: (directory / "weights").write_bytes(b"1234567"),
        lambda directory: (directory / "weights").write_bytes(b"12345679"),
        lambda directory: (directory / "ref" / "weights").unlink(),
    ],
    ids=["unsealed", "torn manifest", "other manifest", "torn", "flipped", "missing"],
)
def test_harmed(checkpoint: Path, harm: object) -> None:
    """A checkpoint that lacks its seal, or differs from it in one bit, is not whole."""
    assert callable(harm)
    harm(checkpoint)

    assert not is_whole(checkpoint)


def test_first_whole(checkpoint: Path) -> None:
    """Of several checkpoints the first whole one counts; there may be none."""
    newer = checkpoint.with_name("checkpoint-2")

    assert first_whole([newer, checkpoint]) == checkpoint
    assert first_whole([newer]) is None
