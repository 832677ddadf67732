"""Checkpoints that can be trusted: each carries the hashes of its files, written last.

What a crash tore, or a disk changed, is told apart from what is whole. What the files mean is left to the trainer.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

MANIFEST = "manifest.json"


def seal(directory: Path) -> None:
    """Write the manifest of a checkpoint whose files are all there, and bring everything to the disk."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)
    hashes = {path.relative_to(directory).as_posix(): _sha256(path) for path in files}
    for path in files:
        _sync(path)
    staging = directory / f".{MANIFEST}"
    staging.write_text(json.dumps(hashes, indent=1))
    _sync(staging)
    staging.rename(directory / MANIFEST)
    _sync(directory)
    _sync(directory.parent)


def is_whole(directory: Path) -> bool:
    """Return whether a checkpoint was sealed and is still what it was then."""
    try:
        hashes = json.loads((directory / MANIFEST).read_bytes())
        return all(_sha256(directory / name) == digest for name, digest in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False


def first_whole(directories: Iterable[Path]) -> Path | None:
    """Return the first of these checkpoints that is whole, or `None`."""
    return next((directory for directory in directories if is_whole(directory)), None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
