"""Scenes as batches of tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from image_model.scenes import Example, Imagination, Split
from image_model.sprites import Sprites


@dataclass(frozen=True, slots=True)
class SceneBatch:
    """Examples side by side: `targets` and `canvases` are uint8 [B, 256, 256, 4], `covers` float [B, 4, 16, 16]."""

    captions: list[str]
    colours: list[tuple[str, ...]]
    backgrounds: list[str]
    targets: Any
    canvases: Any
    covers: Any


def collate(examples: Sequence[Example]) -> SceneBatch:
    """Return one batch."""
    return SceneBatch(
        captions=[example.caption for example in examples],
        colours=[example.colours for example in examples],
        backgrounds=[example.background for example in examples],
        targets=torch.from_numpy(np.stack([example.target for example in examples])),
        canvases=torch.from_numpy(np.stack([example.canvas for example in examples])),
        covers=torch.from_numpy(np.stack([example.covers for example in examples])),
    )


def copied(example: Example) -> Example:
    """Return the task to draw again what is shown, without words; variations of a picture want that."""
    covers = np.zeros_like(example.covers)
    covers[0] = 1
    return replace(example, caption="", colours=("",), background="", canvas=example.target, covers=covers)


def planes(pictures: Any) -> Any:
    """Return pictures, uint8 [B, H, W, 4], as premultiplied planes [B, 4, H, W] from 0 to 1."""
    values = pictures.movedim(-1, 1).float() / 255
    return torch.cat([values[:, :3] * values[:, 3:], values[:, 3:]], 1)


class SceneStream(IterableDataset[Example]):
    """Scenes without end. The same seed gives the same ones."""

    def __init__(
        self,
        split: Split,
        seed: int,
        *,
        holds_out_concepts: bool = True,
        concepts: int | None = None,
        copies: float = 0.0,
    ) -> None:
        self._split: Split = split
        self._seed = seed
        self._holds_out_concepts = holds_out_concepts
        self._concepts = concepts
        self._copies = copies

    def __iter__(self) -> Iterator[Example]:
        sprites = Sprites.load()
        imagination = Imagination(
            sprites, self._split, holds_out_concepts=self._holds_out_concepts, concepts=self._concepts
        )
        random = Random(self._seed)
        while True:
            roll = random.random() / self._copies if self._copies else 2.0
            example = imagination.draw(imagination.scene(random), random, shows_background=1 < roll < 2)
            yield copied(example) if roll < 1 else example


def batches(stream: SceneStream, batch_size: int) -> Iterator[SceneBatch]:
    """Return batches, drawn by one process ahead of time."""
    return iter(DataLoader(stream, batch_size, collate_fn=collate, num_workers=1, prefetch_factor=4))
