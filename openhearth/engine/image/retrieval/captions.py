"""What texts mean, to the network: the states of a sentence encoder, and one vector for a name."""

from collections.abc import Sequence
from typing import Any

import torch

NUM_STATES = 32
"""Tokens of a caption that the network sees; what is longer is cut off."""


class CaptionEncoder:
    """Reads texts with a BERT model and its tokenizer, such as all-MiniLM-L6-v2."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer

    @property
    def width(self) -> int:
        """The size of a state."""
        return int(self._model.config.hidden_size)

    @property
    def device(self) -> Any:
        """Where the states are."""
        return self._model.device

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> Any:
        """Return [B, 32, D]: the states of each text's tokens, zeros after its end, and for a text without words."""
        states, mask = self._read(texts)
        mask = mask * mask.new_tensor([[bool(text.strip())] for text in texts])[..., None]
        padding = states.new_zeros((len(texts), NUM_STATES - states.shape[1], states.shape[2]))
        return torch.cat([states * mask, padding], 1)

    @torch.no_grad()
    def embeddings(self, texts: Sequence[str]) -> Any:
        """Return [B, D]: the mean of each text's states, of length 1 (Reimers and Gurevych 2019)."""
        states, mask = self._read(texts)
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    def phrases(self, texts: Sequence[str]) -> Any:
        """Return [B, D]: the embeddings at the scale of the network's features, about 1 a number; "" gives zeros."""
        said = torch.tensor([[bool(text)] for text in texts], device=self.device)
        return self.embeddings(texts) * self.width**0.5 * said

    def _read(self, texts: Sequence[str]) -> tuple[Any, Any]:
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=NUM_STATES, return_tensors="pt", verbose=False
        ).to(self._model.device)
        states = self._model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return states, tokens.attention_mask[..., None].to(states.dtype)
