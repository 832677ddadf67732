"""The recipe as a whole."""

from pathlib import Path

import pytest

from image_model import __main__ as recipe
from image_model.runs import Run


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the names of the steps that were run."""
    done: list[str] = []
    monkeypatch.setattr(recipe, "_run", lambda step, *arguments: done.append(step))
    for name in ("DECODER", "SCORER", "DENOISER"):
        monkeypatch.setattr(recipe, name, tmp_path / name)
    return done


def log(folder: Path, **values: float) -> None:
    """Leave a log behind, as a training does."""
    Run(folder, minutes=1).log(**values)


def test_what_is_done_is_passed_over(steps: list[str], tmp_path: Path) -> None:
    """With all gates passed, only what takes little time is done again."""
    log(tmp_path / "DECODER", db=31.5)
    log(tmp_path / "SCORER", top5=0.9)
    log(tmp_path / "DENOISER" / "retrieval", step=4_000, finished=1)

    recipe.make(minutes=50)

    assert steps == ["fetch", "sprites", "bank", "package", "evaluate"]


def test_a_missed_gate_ends_it(steps: list[str]) -> None:
    """What is built on a bad decoder would be worse."""
    with pytest.raises(SystemExit, match=r"The decoder reached 0.000, not 31.0"):
        recipe.make(minutes=50)

    assert steps == ["fetch", "sprites", "train_decoder"]


def test_the_denoiser_comes_last(steps: list[str], tmp_path: Path) -> None:
    """It needs the decoder and the scorer."""
    log(tmp_path / "DECODER", db=32)
    log(tmp_path / "SCORER", top5=0.9)

    recipe.make(minutes=50)

    assert steps[2] == "train_denoiser"


def test_a_denoiser_that_was_stopped_goes_on(steps: list[str], tmp_path: Path) -> None:
    """Steps done are not enough: the learning rate has to have come down."""
    log(tmp_path / "DECODER", db=32)
    log(tmp_path / "SCORER", top5=0.9)
    log(tmp_path / "DENOISER" / "retrieval", step=4_000)

    recipe.make(minutes=50)

    assert "train_denoiser" in steps
