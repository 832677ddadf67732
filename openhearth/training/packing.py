"""Several examples in one row of tokens, without padding between them, and each attending to itself alone.

The attention takes the examples of a row apart again, so a token sees what it would see if its example were alone, and
nothing is computed for pairs of tokens that must not see each other.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from openhearth.training.dataset import IGNORED

ATTENTION = "openhearth_packed"
"""The name of the attention, for `attn_implementation`."""


def pack(examples: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Return examples as one row.

    `input_ids`, `position_ids` (each example's from 0) and `labels` have the shape `[1, tokens]`; `lengths`,
    `[examples]`, says where one ends and the next begins. The first label of an example is never trained: nothing
    precedes it.
    """
    ids = [token_id for example in examples for token_id in example["input_ids"]]
    labels = [label for example in examples for label in (IGNORED, *example["labels"][1:])]
    lengths = [len(example["input_ids"]) for example in examples]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "labels": torch.tensor([labels]),
        "lengths": torch.tensor(lengths),
    }


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _attention_mask: None,
    *,
    lengths: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention of each example to itself; an attention function in the sense of `AttentionInterface`.

    `query` is `[1, heads, tokens, size]`, `key` and `value` have as many heads or fewer; the result is
    `[1, tokens, heads, size]`.
    """
    sizes = lengths.tolist()
    attended = []
    for queries, keys, values in zip(*(tensor.split(sizes, dim=2) for tensor in (query, key, value)), strict=True):
        window = _window(queries, sliding_window)
        attended.append(
            scaled_dot_product_attention(
                queries,
                keys,
                values,
                attn_mask=window,
                is_causal=window is None,
                dropout_p=dropout,
                scale=scaling,
                enable_gqa=True,
            )
        )
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


def _window(query: torch.Tensor, size: int | None) -> torch.Tensor | None:
    """Return which keys each query of a layer sees that looks back `size` tokens; `None` if it sees all before it."""
    length = query.shape[2]
    if size is None or length <= size:
        return None
    ones = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return ones.tril().triu(1 - size)


AttentionInterface.register(ATTENTION, attend)
