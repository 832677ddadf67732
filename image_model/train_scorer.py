"""Train the scorer, which says how well a picture fits a caption: `python -m image_model.train_scorer --minutes 15`.

A small convolutional network takes the code of a picture into the space of the sentence encoder, by contrast between
the pictures and captions of a batch (Radford et al. 2021). It judges the denoiser, which never sees it.
"""

import argparse
from collections import deque
from collections.abc import Sequence
from random import sample
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from image_model.data import SceneStream, batches, planes
from image_model.paths import DECODER, SCORER
from image_model.runs import Run
from image_model.scenes import Split
from image_model.text import encoder
from image_model.trainee import Trainee
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.scorer import Scorer

GATE = 0.8
_POOL = 24_000
_NEW = 48
_BATCH = 192
_COUNT = 1000


def main() -> None:
    """Train for so many minutes more, then say how good it is and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--steps", type=int, default=6_000, help="over which the learning rate falls to nothing")
    arguments = parser.parse_args()
    train(Run(SCORER, arguments.minutes), arguments.steps)


def train(run: Run, total: int) -> None:
    """Train until the run is over or `total` steps are done."""
    vae = PatchVAE.from_pretrained(DECODER / "vae").eval()
    contrast = Contrast(Scorer())
    trainee = Trainee(run, contrast, weight_decay=0.05)
    pool = Pool(vae, trainee.step)
    trainee.train(total, lambda: contrast(*pool.batch(_BATCH)))
    contrast.scorer.eval().save_pretrained(run.folder / "scorer")
    run.log(**evaluate(vae, contrast.scorer))


class Contrast(nn.Module):
    """The loss of a scorer: how badly it tells which caption of a batch is a picture's, and which picture a caption's.

    The temperature of both choices is learnt, too.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer.train().to(memory_format=torch.channels_last)
        self.temperatures = nn.ParameterList([nn.Parameter(torch.tensor(3.0))])

    def forward(self, codes: Any, meanings: Any) -> Any:
        """Return the loss of codes [B, C, 16, 16] with their captions' embeddings [B, D]."""
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.scorer(codes).float()
        logits = seen @ meanings.T * self.temperatures[0].exp()
        wanted = torch.arange(len(codes))
        return (functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, wanted)) / 2


class Pool:
    """Codes of scenes and what their captions mean: more and more of them, until the oldest make room."""

    def __init__(self, vae: PatchVAE, seed: int) -> None:
        self._vae = vae
        self._stream = batches(SceneStream("train", 1000 + seed, holds_out_concepts=False), _NEW)
        self._pairs: deque[tuple[Any, Any]] = deque(maxlen=_POOL)
        while len(self._pairs) < 4 * _BATCH:
            self._grow()

    def batch(self, size: int) -> tuple[Any, Any]:
        """Return codes with a little noise, and the embeddings of their captions."""
        self._grow()
        codes, meanings = zip(*sample(self._pairs, size), strict=True)
        clean = torch.stack(codes).float()
        return clean + 0.1 * torch.randn_like(clean), torch.stack(meanings)

    def _grow(self) -> None:
        scenes = next(self._stream)
        codes = code_of(self._vae, scenes.targets).half()
        with torch.autocast("cpu", torch.bfloat16):
            meanings = encoder().embeddings(scenes.captions).float()
        self._pairs.extend(zip(codes, meanings, strict=True))


@torch.no_grad()
def code_of(vae: PatchVAE, pictures: Any) -> Any:
    """Return the code of pictures, uint8 [B, 256, 256, 4]."""
    return vae.encode_planes(planes(pictures))


@torch.no_grad()
def evaluate(vae: PatchVAE, scorer: Scorer) -> dict[str, float]:
    """Return how often the right caption is among the first one and five of 1,000, on scenes kept from training."""
    codes, captions = _scenes(vae, "held_out", _COUNT)
    similarity = scorer(codes) @ encoder().embeddings(captions).T
    right = similarity.diagonal()[:, None]
    rank = (similarity > right).sum(1)
    return {"top1": (rank < 1).float().mean().item(), "top5": (rank < 5).float().mean().item()}


def _scenes(vae: PatchVAE, split: Split, count: int) -> tuple[Any, Sequence[str]]:
    stream = batches(SceneStream(split, 5, holds_out_concepts=False), 50)
    codes: list[Any] = []
    captions: list[str] = []
    while len(captions) < count:
        part = next(stream)
        codes.append(code_of(vae, part.targets))
        captions += part.captions
    return torch.cat(codes)[:count], captions[:count]


if __name__ == "__main__":
    main()
