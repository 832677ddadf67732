"""The directory of one server's state."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from openhearth.errors import ConfigurationError, HomeInUseError
from openhearth.home import owned_home, prepare_home

OWN_AND_WAIT = """
import sys, time
from pathlib import Path
from openhearth.home import owned_home
with owned_home(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(600)
"""


def test_a_home_is_private(tmp_path: Path) -> None:
    """A new home can be read by its owner alone."""
    home = prepare_home(tmp_path / "a" / "home")

    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A home below a file is refused by a sentence that names it."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="file/home"):
        prepare_home(tmp_path / "file" / "home")


def test_a_home_has_one_owner(tmp_path: Path) -> None:
    """A second owner is refused at once, and the home is free when the first has gone."""
    with owned_home(tmp_path), pytest.raises(HomeInUseError, match=str(tmp_path)), owned_home(tmp_path):
        pass

    with owned_home(tmp_path) as home:
        assert home == tmp_path


def test_a_killed_owner_leaves_the_home_free(tmp_path: Path) -> None:
    """The kernel frees the home of a process that had no chance to."""
    owner = subprocess.Popen([sys.executable, "-c", OWN_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        with pytest.raises(HomeInUseError), owned_home(tmp_path):
            pass
        owner.kill()
        owner.wait()

    with owned_home(tmp_path) as home:
        assert home == tmp_path


def test_a_home_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    """A home whose lock file cannot be opened is refused by a sentence."""
    (tmp_path / "server.lock").mkdir()

    with pytest.raises(ConfigurationError, match="cannot be used"), owned_home(tmp_path):
        pass
