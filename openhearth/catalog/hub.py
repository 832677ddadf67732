"""Fetching a model from the Hugging Face hub into the hub's own cache, which other programs share.

`HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and the hub's tokens mean what they mean everywhere.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from openhearth.catalog.progress import Progress, Report
from openhearth.errors import ConfigurationError

# Never a pickle, never code.
WANTED_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model"]


def fetch_snapshot(repository: str, revision: str | None, progress: Progress) -> Path:
    """Return the directory of a repository at a revision, the default branch if `None`, fetching what is missing.

    Raises `ConfigurationError` with what to do about it if the hub refuses or cannot be reached.
    """
    name = repository if revision is None else f"{repository}@{revision}"
    try:
        with progress.step(f"Fetching {name}", total_bytes=_num_missing_bytes(repository, revision)) as report:
            snapshot = snapshot_download(
                repository, revision=revision, allow_patterns=WANTED_FILES, tqdm_class=_bar_for(report)
            )
    except (OSError, HFValidationError) as error:  # every error of the hub is one of these
        raise ConfigurationError(f"{name} cannot be fetched from the Hugging Face hub: {_reason(error)}") from error
    return Path(snapshot)


def _num_missing_bytes(repository: str, revision: str | None) -> int | None:
    """Return how much there is to fetch; `None` if nothing is, or the hub cannot be asked and the cache has to do."""
    try:
        files = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=WANTED_FILES,
            dry_run=True,
            tqdm_class=_bar_for(lambda done: None),
        )
    except DryRunError:
        return None
    return sum(file.file_size or 0 for file in files if file.will_download) or None


def _bar_for(report: Report) -> type[tqdm]:
    """Return a class in the place of the hub's progress bars that draws nothing and counts the bytes for `report`."""
    done: Counter[int] = Counter()

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts_bytes:
                done[id(self)] += int(n or 0)
                report(max(done.values()))  # one bar counts what is received, another what is written
            return None

    return Bar


def _reason(error: Exception) -> str:
    match error:
        case GatedRepoError():
            return "its owner wants the conditions to be accepted first; do so on its page, then set HF_TOKEN."
        case RepositoryNotFoundError():
            return "there is no such model, or it is private and HF_TOKEN does not open it."
        case RevisionNotFoundError():
            return "the model has no such revision."
        case LocalEntryNotFoundError():
            return "it is not in the cache, and the hub is out of reach or HF_HUB_OFFLINE is set."
        case _:
            return f"{error}."
