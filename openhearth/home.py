"""A home: the directory that holds one server's state. Knows how it is made and who owns it, not what lies in it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import AsyncFileLock, FileLock, Timeout

from openhearth.errors import ConfigurationError, HomeInUseError


def prepare_home(home: Path) -> Path:
    """Make `home` if it is missing, readable by its owner alone, and return it.

    Raises `ConfigurationError` if it cannot be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The home {home} cannot be made ({error.strerror}); choose another with --home or OPENHEARTH_HOME."
        ) from error
    return home


def secret_of(home: Path, name: str) -> bytes:
    """Return 32 random bytes that this home keeps under `name`, made when they are first asked for."""
    file = home / f"{name}.secret"
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
            new.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    return file.read_bytes()


def storing_lock(home: Path) -> AsyncFileLock:
    """Return a lock that a worker holds while it stores a file, and a sweep while it looks for files without a row.

    It ends with the process, as that of `owned_home` does.
    """
    return AsyncFileLock(prepare_home(home) / "storing.lock")


@contextmanager
def owned_home(home: Path) -> Iterator[Path]:
    """Own `home` for as long as the context lasts, making it if it is missing.

    The kernel holds the lock on behalf of the process, so it ends with the process, however that ends. Raises
    `HomeInUseError` at once if another process owns the home.
    """
    lock = FileLock(prepare_home(home) / "server.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise HomeInUseError(
            f"Another openhearth server is running on the home {home}; stop it, or give this one a home of its own "
            "with --home."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"The home {home} cannot be used: {error.strerror}.") from error
    try:
        yield home
    finally:
        lock.release()
