"""What a directory in Hugging Face layout holds, read from its JSON files and file names; no weights are opened."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openhearth.catalog.entry import ModelKind

TEXT_ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
)
"""What the text engine has a graph for."""

EMBEDDING_ARCHITECTURES = (
    "BertModel",
    "BertForMaskedLM",
    "RobertaModel",
    "RobertaForMaskedLM",
    "XLMRobertaModel",
    "XLMRobertaForMaskedLM",
    "MPNetModel",
    "MPNetForMaskedLM",
    "DistilBertModel",
    "DistilBertForMaskedLM",
    *(name.replace("ForCausalLM", "Model") for name in TEXT_ARCHITECTURES),
)
"""What turns text into vectors, besides the text architectures that have a `modules.json`."""

_COUNTING_FROM_PADDING = ("Roberta", "XLMRoberta", "MPNet")
"""Families whose first position is the id of the padding token, plus one."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A model directory; `problem` is one sentence that says why it cannot be served, or `None`."""

    path: Path
    kind: ModelKind
    context_length: int | None
    size_bytes: int
    created: int
    problem: str | None


def is_model_folder(path: Path) -> bool:
    """Whether `path` looks like a model: it has a `config.json`, or the `model_index.json` of an image pipeline."""
    return _index(path).is_file()


def read_folder(path: Path) -> Folder:
    """Describe the model in `path`, for which `is_model_folder` holds."""
    try:
        config: dict[str, Any] = json.loads(_index(path).read_bytes())
        kind = _kind(path, config)
        problem = _weights_problem(path) or _architecture_problem(kind, config)
    except ValueError as error:
        config, kind, problem = {}, "text", f"{_index(path).name} cannot be read: {error}."
    return Folder(
        path=path,
        kind=kind,
        context_length=_context_length(config),
        size_bytes=sum(file.stat().st_size for file in path.rglob("*.safetensors")),
        created=int(_index(path).stat().st_mtime),
        problem=problem,
    )


def _index(path: Path) -> Path:
    pipeline = path / "model_index.json"
    return pipeline if pipeline.is_file() else path / "config.json"


def _kind(path: Path, config: dict[str, Any]) -> ModelKind:
    if _index(path).name == "model_index.json":
        return "image"
    if (path / "modules.json").is_file() or _architecture(config) in EMBEDDING_ARCHITECTURES:
        return "embedding"
    return "text"


def _architecture(config: dict[str, Any]) -> str:
    names: list[str] = config.get("architectures") or ["none"]
    return names[0]


def _weights_problem(path: Path) -> str | None:
    if any(path.rglob("*.safetensors")):
        return None
    pickled = sorted(file.name for file in path.rglob("*") if file.suffix in _PICKLES)
    if pickled:
        return (
            f"its weights are in {pickled[0]}, a format that can run code when it is read; openhearth loads "
            "safetensors only."
        )
    return "it has no weights in the safetensors format."


def _architecture_problem(kind: ModelKind, config: dict[str, Any]) -> str | None:
    known = {"text": TEXT_ARCHITECTURES, "embedding": EMBEDDING_ARCHITECTURES + TEXT_ARCHITECTURES}.get(kind)
    architecture = _architecture(config)
    if known is None or architecture in known:
        return None
    if "auto_map" in config:
        return (
            f"its architecture {architecture} needs code from the model's own repository, which openhearth never runs."
        )
    return f"its architecture {architecture} is not supported; supported are {', '.join(known)}."


def _context_length(config: dict[str, Any]) -> int | None:
    positions: int | None = config.get("max_position_embeddings")
    if positions and _architecture(config).startswith(_COUNTING_FROM_PADDING):
        return positions - int(config.get("pad_token_id", 1)) - 1
    return positions
