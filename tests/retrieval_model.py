"""A tiny model of the embedded model's kind: random weights, and a bank of three sprites."""

import json
from io import BytesIO
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image, ImageDraw

from openhearth.engine.image.retrieval.captions import CaptionEncoder
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.unet import RetrievalUNet

NATIVE_SIZE = 64
WIDTH = 24
CHANNELS = 24
_WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["a", "an", "the", "red", "blue", "green", "apple", "ball", "square", "on", "background", "and", "two"],
)
_SPRITES = (("red apple", ("apple",), "flat"), ("red apple", ("apple",), "3d"), ("blue square", (), "flat"))


def build_retrieval_model(folder: Path) -> Path:
    """Make a directory as the embedded model's."""
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    tokenizer, text_encoder = _tokenizer(), _text_encoder()
    diffusers.StableDiffusionPipeline(
        vae=fitted_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=_unet(),
        scheduler=diffusers.DPMSolverMultistepScheduler(
            use_flow_sigmas=True,
            prediction_type="flow_prediction",
            flow_shift=1.0,
            final_sigmas_type="zero",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    write_tiny_bank(folder / "bank", CaptionEncoder(text_encoder, tokenizer))
    return folder


def fitted_vae(seed: int = 0) -> PatchVAE:
    """Return an autoencoder whose components are those of some smooth pictures."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(48, 4, 6, 6, generator=generator)
    vae: PatchVAE = PatchVAE(latent_channels=CHANNELS, width=16, fine_width=4, num_layers=1)
    vae.fit(torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear"))
    vae.eval()
    return vae


def write_tiny_bank(folder: Path, encoder: CaptionEncoder) -> None:
    """Write a bank of one sprite in two styles and another in one."""
    folder.mkdir(parents=True)
    entries, data = [], bytearray()
    for number, (name, keywords, style) in enumerate(_SPRITES):
        file = BytesIO()
        _picture(name.split()[0], is_round=number < 2).save(file, "WEBP", lossless=True)
        entry = {"name": name, "aliases": [], "keywords": keywords, "style": style}
        entries.append(entry | {"offset": len(data), "length": file.tell()})
        data += file.getvalue()
    (folder / "sprites.bin").write_bytes(data)
    (folder / "bank.json").write_text(json.dumps(entries), "utf-8")
    names = sorted({name for name, _, _ in _SPRITES})
    np.save(folder / "meanings.npy", encoder.embeddings(names).numpy().astype(np.float16))


def _picture(colour: str, *, is_round: bool) -> Image.Image:
    picture = Image.new("RGBA", (32, 32))
    draw = ImageDraw.Draw(picture)
    (draw.ellipse if is_round else draw.rectangle)((2, 2, 29, 29), fill=colour)
    return picture


def _unet() -> RetrievalUNet:
    unet: RetrievalUNet = RetrievalUNet(
        sample_size=4,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        phrase_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        cross_attention_dim=WIDTH,
        norm_num_groups=4,
    )
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    return unet


def _text_encoder() -> transformers.BertModel:
    config = transformers.BertConfig(
        vocab_size=len(_WORDS), hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    return transformers.BertModel(config).eval()


def _tokenizer() -> transformers.BertTokenizer:
    return transformers.BertTokenizer(vocab={word: number for number, word in enumerate(_WORDS)})
