"""Where every step leaves its result. All of it can be made again, and none of it is committed."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("OPENHEARTH_IMAGE_MODEL_DIR", ".cache/image-model")).resolve()

PACKAGES = ROOT / "packages"
SPRITES = ROOT / "sprites"
DECODER = ROOT / "decoder"
SCORER = ROOT / "scorer"
DENOISER = ROOT / "denoiser"
EVALUATION = ROOT / "evaluation"
PACKAGE = ROOT / "openhearth-clipart"
