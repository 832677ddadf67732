"""Tiny image models that tests make for themselves: real families, random weights, half a megabyte each.

They draw noise, but in every shape and with every rule of the real ones. Positions of their latent space are 2 pixels
wide; they are made for squares of 64.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import logging

NATIVE_SIZE = 64
_LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
_NOISE_LEVELS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def build_image_model(folder: Path, family: str = "sd1") -> Path:
    """Make a diffusers directory of `family`: sd1, sd1-inpainting, sd1-transparent, sdxl, sd3 or flux."""
    torch.manual_seed(0)
    logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    _FAMILIES[family]().save_pretrained(folder)
    return folder


def _sd1(*, channels: int = 4, out_channels: int = 3) -> Any:
    kind = diffusers.StableDiffusionPipeline if channels == 4 else diffusers.StableDiffusionInpaintPipeline
    return kind(
        vae=_vae(out_channels=out_channels),
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        unet=_unet(cross_attention_dim=16, attention_head_dim=4, in_channels=channels),
        scheduler=diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **_NOISE_LEVELS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    unet = _unet(
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 16,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_clip(),
        text_encoder_2=_clip(with_projection=True),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(**_NOISE_LEVELS),
    )


def _sd3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=64,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(latent_channels=16, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=_clip(with_projection=True),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_clip(with_projection=True),
        tokenizer_2=_clip_tokenizer(),
        text_encoder_3=_t5(width=32),
        tokenizer_3=_t5_tokenizer(),
    )


def _flux() -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=False,
        axes_dims_rope=(4, 4, 8),
    )
    return diffusers.FluxPipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=_vae(shift_factor=0.06, scaling_factor=1.5),
        text_encoder=_clip(),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_t5(width=16),
        tokenizer_2=_t5_tokenizer(),
    )


def _vae(**config: Any) -> Any:
    defaults: dict[str, Any] = {
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 32,
    }
    return diffusers.AutoencoderKL(**(defaults | config))


def _unet(**config: Any) -> Any:
    defaults: dict[str, Any] = {
        "sample_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
    }
    return diffusers.UNet2DConditionModel(**(defaults | config))


def _clip(*, with_projection: bool = False) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=2 * len(_LETTERS) + 2,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=2 * len(_LETTERS),
        eos_token_id=2 * len(_LETTERS) + 1,
    )
    return (transformers.CLIPTextModelWithProjection if with_projection else transformers.CLIPTextModel)(config)


def _clip_tokenizer() -> Any:
    words = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={word: token_id for token_id, word in enumerate(words)}, merges=[], model_max_length=16
    )


def _t5(*, width: int) -> Any:
    config = transformers.T5Config(
        vocab_size=len(_LETTERS) + 4, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    return transformers.T5EncoderModel(config)


def _t5_tokenizer() -> Any:
    words = ["<pad>", "</s>", "<unk>", "\N{LOWER ONE EIGHTH BLOCK}", *_LETTERS]
    return transformers.T5Tokenizer(vocab=[(word, -1.0) for word in words], extra_ids=0, model_max_length=16)


_FAMILIES: dict[str, Callable[[], Any]] = {
    "sd1": _sd1,
    "sd1-inpainting": lambda: _sd1(channels=9),
    "sd1-transparent": lambda: _sd1(out_channels=4),
    "sdxl": _sdxl,
    "sd3": _sd3,
    "flux": _flux,
}
