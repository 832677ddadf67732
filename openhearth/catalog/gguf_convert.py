"""Turning a GGUF file into a Hugging Face directory, which the engine and the trainer both read."""

import json
from pathlib import Path
from typing import Any

from openhearth.catalog.gguf_config import hf_config, hf_generation_config
from openhearth.catalog.gguf_file import GGUFFile
from openhearth.catalog.gguf_tensors import num_weight_bytes, write_weights
from openhearth.catalog.gguf_tokenizer import build_tokenizer, tokenizer_config
from openhearth.catalog.progress import Progress

FORMAT = 1
"""Counts the changes to what a conversion writes; a model converted by an earlier format is converted anew."""


def convert_gguf(source: Path, target: Path, *, name: str, progress: Progress) -> None:
    """Fill the directory `target` with the model in the file `source`.

    Raises `ModelLoadError`, saying what is supported, for an architecture, tokenizer or storage type that is not.
    """
    with progress.step(f"Reading {name}"):
        gguf = GGUFFile(source)
        files = {
            "config.json": hf_config(gguf),
            "generation_config.json": hf_generation_config(gguf),
            "tokenizer_config.json": tokenizer_config(gguf),
        }
        build_tokenizer(gguf).save(str(target / "tokenizer.json"))
    with progress.step(f"Converting {name}", total_bytes=num_weight_bytes(gguf)) as report:
        write_weights(gguf, target, report)
    for file_name, content in files.items():
        _write_json(target / file_name, content)


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
