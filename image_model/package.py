"""Put the model together as it is shipped: `python -m image_model.package --variant retrieval`.

A diffusers directory without its text encoder, which is the embedding model that openhearth brings along anyway.
"""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import torch

from image_model.bank import write_bank
from image_model.fetch import read_manifest
from image_model.paths import DECODER, DENOISER, PACKAGE
from image_model.sprites import Sprites
from openhearth.catalog.bundled import PARTS_OF_ENCODER, add_text_encoder
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.unet import RetrievalUNet
from openhearth.settings import DEFAULT_EMBEDDING_MODEL, load_settings

MAX_BYTES = 60_000_000
CARD, MIT = (Path(__file__).with_name(name) for name in ("MODEL_CARD.md", "MIT.txt"))
LICENSE = Path(__file__).parent.with_name("LICENSE")
_NOTICE = """\
The bank of sprites contains this art, scaled and compressed, and the networks were trained on it, in other colours and
on other backgrounds, too. Weights and bank are under the Apache License 2.0, whose text is in LICENSE; so is the art
where it says so below."""


def main() -> None:
    """Write the package, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=("retrieval", "text"), default="retrieval")
    parser.add_argument("--unet", type=Path, help="a network other than the one that the variant's training wrote")
    arguments = parser.parse_args()
    size = write_package(arguments.unet or DENOISER / arguments.variant / "unet", PACKAGE)
    print(f"{PACKAGE}: {size / 1e6:.1f} MB")


def write_package(unet: Path, folder: Path) -> int:
    """Write the package and return its size in bytes. Raises `ValueError` if it is too large to ship."""
    folder.mkdir(parents=True, exist_ok=True)
    _save(RetrievalUNet.from_pretrained(unet), folder / "unet")
    _save(PatchVAE.from_pretrained(DECODER / "vae"), folder / "vae")
    scheduler().save_pretrained(folder / "scheduler")
    if not (folder / "bank" / "bank.json").exists():
        write_bank(Sprites.load(), folder / "bank")
    (folder / "model_index.json").write_text(json.dumps(model_index(), indent=2) + "\n", "utf-8")
    (folder / "NOTICE").write_text(notice(), "utf-8")
    shutil.copy(CARD, folder / "README.md")
    shutil.copy(LICENSE, folder / "LICENSE")
    size = sum(file.stat().st_size for file in _own_files(folder))
    if size > MAX_BYTES:
        raise ValueError(f"The package has {size} bytes, more than {MAX_BYTES}.")
    return size


def _save(network: diffusers.ModelMixin, folder: Path) -> None:
    """Write a network in half precision, without the path that it was read from."""
    network.to(torch.float16).save_pretrained(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8"))
    config.pop("_name_or_path", None)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _own_files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and file.parent.name not in PARTS_OF_ENCODER]


def complete(folder: Path) -> Path:
    """Give a package its text encoder, so that it can be loaded; return the folder."""
    add_text_encoder(folder, load_settings().models.expanduser() / DEFAULT_EMBEDDING_MODEL)
    return folder


def scheduler() -> diffusers.DPMSolverMultistepScheduler:
    """Return the scheduler: DPM-Solver++ on the straight path of flow matching."""
    return diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        flow_shift=1.0,
        final_sigmas_type="zero",
        steps_offset=1,
    )


def model_index() -> dict[str, object]:
    """Return what diffusers reads first."""
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "BertModel"],
        "tokenizer": ["transformers", "BertTokenizer"],
        "unet": ["openhearth.engine.image.retrieval.unet", "RetrievalUNet"],
        "vae": ["openhearth.engine.image.retrieval.patch_vae", "PatchVAE"],
    }


def notice() -> str:
    """Return whose art the weights and the bank are made of, and under which licences."""
    entries = (
        f"{entry['content']}\n  {entry['copyright']}\n  {entry['license']}, npm package {entry['package']} "
        f"{entry['version']}"
        for entry in read_manifest().values()
    )
    return "\n\n".join((_NOTICE, *entries, "The MIT License:", MIT.read_text("utf-8")))


if __name__ == "__main__":
    main()
