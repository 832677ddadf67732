"""Make the model from beginning to end: `python -m image_model --minutes 80`, or `make image-model MINUTES=80`.

Every step goes on where it was stopped, and one that is done is passed over. The minutes are those of the network
that draws; all other steps together take about a quarter of an hour.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from image_model import scorer, train_decoder
from image_model.paths import DECODER, DENOISER, SCORER
from image_model.runs import last_value

_QUIET = {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}


def main() -> None:
    """Make the model as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=80.0, help="of the network that draws")
    make(parser.parse_args().minutes)


def make(minutes: float) -> None:
    """Run the steps one after the other. Ends with the first that fails, or that misses its gate."""
    _run("fetch")
    _run("sprites")
    if last_value(DECODER, "db", 0.0) < train_decoder.GATE_DB:
        _run("train_decoder", "--steps", "4000")
        _require("The decoder", last_value(DECODER, "db", 0.0), train_decoder.GATE_DB)
    if last_value(SCORER, "top5", 0.0) < scorer.GATE:
        _run("scorer")
        _require("The scorer", last_value(SCORER, "top5", 0.0), scorer.GATE)
    if not last_value(DENOISER / "retrieval", "finished", 0.0):
        _run("train_denoiser", "--bf16", "--finish", "--minutes", str(minutes))
    for step in ("bank", "package", "evaluate"):
        _run(step)


def _run(step: str, *arguments: str) -> None:
    subprocess.run(_command(step, arguments), check=True, env=os.environ | _QUIET)


def _command(step: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", f"image_model.{step}", *arguments]


def _require(what: str, value: float, gate: float) -> None:
    if value < gate:
        sys.exit(f"{what} reached {value:.3f}, not {gate}.")


if __name__ == "__main__":
    main()
