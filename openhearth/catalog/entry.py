"""What the catalog says about one model or alias."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ModelKind = Literal["text", "embedding", "image"]
ModelSource = Literal["embedded", "gguf", "folder", "hub", "remote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model by one of its names.

    `path` is its directory in Hugging Face layout, or `None` before it was pulled; of a remote model only the tokenizer
    lies there. `created` is the Unix time in whole seconds at which its files came here. An alias carries what its
    target carries, its own `id`, and the target's id as `alias_of`. `problem` is one sentence that says why files that
    are here cannot be served, `remark` one that says what to expect of the model.
    """

    id: str
    kind: ModelKind
    source: ModelSource
    path: Path | None
    created: int = 0
    owned_by: str = "system"
    alias_of: str | None = None
    context_length: int | None = None
    size_bytes: int | None = None
    problem: str | None = None
    remark: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the model's files are on this machine."""
        return self.path is not None

    @property
    def is_ready(self) -> bool:
        """Whether the model can be loaded: its files are here, and nothing speaks against them."""
        return self.is_local and self.problem is None
