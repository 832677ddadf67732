"""Tiny encoders with random weights as sentence-transformers directories, for every family that is built."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.tiny_models import VOCAB_SIZE, byte_level_tokenizer

MAX_MODEL_LEN = 160

_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "initializer_range": 0.15,
}
_AFTER_PADDING: dict[str, Any] = {"max_position_embeddings": MAX_MODEL_LEN + 2, "pad_token_id": 1}
ENCODERS: dict[str, Any] = {
    "bert": lambda: BertModel(BertConfig(**_SIZES, max_position_embeddings=MAX_MODEL_LEN)),
    "bert_relu": lambda: BertModel(BertConfig(**_SIZES, max_position_embeddings=MAX_MODEL_LEN, hidden_act="relu")),
    "bert_gelu_new": lambda: BertModel(
        BertConfig(**_SIZES, max_position_embeddings=MAX_MODEL_LEN, hidden_act="gelu_new")
    ),
    "roberta": lambda: RobertaModel(RobertaConfig(**_SIZES, **_AFTER_PADDING, type_vocab_size=1)),
    "xlm_roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**_SIZES, **_AFTER_PADDING, type_vocab_size=1)),
    "mpnet": lambda: MPNetModel(MPNetConfig(**_SIZES, **_AFTER_PADDING)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(
            vocab_size=VOCAB_SIZE,
            dim=64,
            n_layers=3,
            n_heads=4,
            hidden_dim=96,
            max_position_embeddings=MAX_MODEL_LEN,
            initializer_range=0.15,
        )
    ),
}
"""Name of a case → its model, before it gets weights that matter."""


def build_tiny_encoder(directory: Path, encoder: str = "bert", *, pooling: str | None = "mean") -> Path:
    """Write a whole model directory; without `pooling` it has no sentence-transformers files."""
    torch.manual_seed(0)
    model = ENCODERS[encoder]()
    with torch.no_grad():  # fresh biases and norms are 0 and 1, and would hide a mistake
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    tokenizer = byte_level_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    if pooling is not None:
        add_pooling(directory, pooling_mode=pooling)
    return directory


def add_pooling(directory: Path, **pooling: Any) -> Path:
    """Write the sentence-transformers files of a pooled and normalised model into its directory."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return directory
