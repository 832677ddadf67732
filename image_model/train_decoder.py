"""Fit the code of patches, and train what decodes it: `python -m image_model.train_decoder --minutes 20`.

The measure is the peak signal-to-noise ratio over the premultiplied planes of scenes that are kept from training.
"""

import argparse
from typing import Any

import torch
from torch.nn import functional

from image_model.data import SceneStream, batches, planes
from image_model.paths import DECODER
from image_model.runs import Run
from image_model.trainee import Trainee
from openhearth.engine.image.retrieval.patch_vae import PatchVAE

GATE_DB = 31.0
_BATCH = 8
_FITTED_ON = 768


def main() -> None:
    """Train for so many minutes more, then say how good it is and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=12_000, help="over which the learning rate falls to nothing")
    arguments = parser.parse_args()
    train(Run(DECODER, arguments.minutes), arguments.steps)


def train(run: Run, total: int) -> None:
    """Train until the run is over or `total` steps are done."""
    vae = PatchVAE()
    trainee = Trainee(run, vae.requires_grad_(True).to(memory_format=torch.channels_last), weight_decay=1e-4)
    if trainee.step == 0:
        vae.fit(torch.cat([planes(batch) for batch in _targets("train", 1, _FITTED_ON // 32, 32)]))
    stream = batches(SceneStream("train", 100 + trainee.step, holds_out_concepts=False), _BATCH)
    trainee.train(total, lambda: _loss(vae, _crops(planes(next(stream).targets))))
    db, linear = evaluate(vae)
    run.log(db=db, linear_db=linear)
    vae.save_pretrained(run.folder / "vae")


def _loss(vae: PatchVAE, target: Any) -> Any:
    with torch.no_grad():
        code = vae.encode_planes(target)
        code = code + 0.05 * torch.randn_like(code)  # what the denoiser makes is never quite the code
    difference = vae.decode_planes(code) - target
    return difference.square().mean() + 0.02 * difference.abs().mean()


@torch.no_grad()
def evaluate(vae: PatchVAE, count: int = 16) -> tuple[float, float]:
    """Return the decibels of the decoder and of the components alone, over `count` batches of 16 scenes."""
    errors = torch.zeros(2)
    for batch in _targets("held_out", 7, count, 16):
        target = planes(batch)
        code = vae.encode_planes(target)
        decoded = (vae.decode_planes(code), vae.decode_linear(code))
        errors += torch.stack([functional.mse_loss(each.clamp(0, 1), target) for each in decoded])
    values = -10 * torch.log10(errors / count)
    return values[0].item(), values[1].item()


def _targets(split: Any, seed: int, count: int, size: int) -> Any:
    stream = batches(SceneStream(split, seed, holds_out_concepts=False), size)
    return (next(stream).targets for _ in range(count))


def _crops(target: Any, edge: int = 128) -> Any:
    """Return a square of each picture, where patches begin."""
    row, column = (int(torch.randint(0, (256 - edge) // 16 + 1, ())) * 16 for _ in range(2))
    return target[:, :, row : row + edge, column : column + edge].contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
