"""A tiny model, made once."""

from pathlib import Path

import pytest
import transformers

from openhearth.engine.image.pipeline import Pipeline
from openhearth.engine.image.retrieval.captions import CaptionEncoder
from tests.retrieval_model import build_retrieval_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the model."""
    return build_retrieval_model(tmp_path_factory.mktemp("retrieval") / "model")


@pytest.fixture(scope="session")
def pipeline(folder: Path) -> Pipeline:
    """Give the model in memory."""
    return Pipeline(folder)


@pytest.fixture
def encoder(folder: Path) -> CaptionEncoder:
    """Give the model's encoder."""
    return CaptionEncoder(
        transformers.BertModel.from_pretrained(folder / "text_encoder"),
        transformers.AutoTokenizer.from_pretrained(folder / "tokenizer"),
    )
