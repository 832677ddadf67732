"""How files appear among the models: whole or not at all, and made by one process at a time."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock


@contextmanager
def exclusive(models_dir: Path, model_id: str) -> Iterator[None]:
    """Keep every other process from pulling this model; waits for one that already does."""
    locks = models_dir / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{quote(model_id, safe='@')}.lock"):
        yield


def publish_directory(models_dir: Path, name: str, build: Callable[[Path], None]) -> Path:
    """Let `build` fill an empty directory, then put it in place as `models_dir / name`, replacing what was there.

    Whatever moment the machine dies at, the place holds the old directory, nothing, or the new one whole. To be called
    while the model is held `exclusive`: what an earlier, broken attempt left is removed first.
    """
    staging = models_dir / ".staging" / name
    retired = models_dir / ".staging" / f"{name}.retired"
    for leftover in (staging, retired):
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir(parents=True)
    build(staging)
    _sync_tree(staging)
    target = models_dir / name
    if target.exists():
        target.rename(retired)
    staging.rename(target)
    _sync(models_dir)
    shutil.rmtree(retired, ignore_errors=True)
    return target


def publish_file(file: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` make a file under a temporary name, then put it in place as `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_name(f".{file.name}.staging")
    write(staging)
    _sync(staging)
    staging.replace(file)
    _sync(file.parent)
    return file


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
