"""Make the model from beginning to end: `python -m image_model`, or `make image-model`.

Every step goes on where it was stopped, and one that is done is passed over.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from image_model import scorer, train_decoder
from image_model.paths import DECODER, DENOISER, SCORER
from image_model.runs import last_value

_DENOISER_STEPS = 4_500
_QUIET = {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}


def main() -> None:
    """Run the steps one after the other. Ends with the first that fails, or that misses its gate."""
    _run("fetch")
    _run("sprites")
    if last_value(DECODER, "db", 0.0) < train_decoder.GATE_DB:
        _run("train_decoder")
        _require("The decoder", last_value(DECODER, "db", 0.0), train_decoder.GATE_DB)
    if last_value(SCORER, "top5", 0.0) < scorer.GATE:
        _run("scorer")
        _require("The scorer", last_value(SCORER, "top5", 0.0), scorer.GATE)
    if last_value(DENOISER / "retrieval", "step", 0.0) < _DENOISER_STEPS:
        _run("train_denoiser", "--bf16", "--finish", "--minutes", "80")
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
