"""The sentence encoder that openhearth brings along, as the trainers use it."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import transformers

from openhearth.engine.image.retrieval.captions import CaptionEncoder
from openhearth.settings import DEFAULT_EMBEDDING_MODEL, load_settings


class RememberingEncoder(CaptionEncoder):
    """Reads every name only once; there are a few thousand."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__(model, tokenizer)
        self._known: dict[str, Any] = {}

    def phrases(self, texts: Sequence[str]) -> Any:
        """See `CaptionEncoder.phrases`."""
        new = sorted(set(texts) - self._known.keys())
        if new:
            self._known.update(zip(new, super().phrases(new), strict=True))
        return torch.stack([self._known[text] for text in texts])


@cache
def encoder() -> CaptionEncoder:
    """Return the encoder, which `openhearth pull` fetches."""
    transformers.utils.logging.set_verbosity_error()
    folder = load_settings().models.expanduser() / DEFAULT_EMBEDDING_MODEL
    model = transformers.BertModel.from_pretrained(folder)
    return RememberingEncoder(model, transformers.AutoTokenizer.from_pretrained(folder))
