"""What the sentence-transformers files say."""

import json
from pathlib import Path
from typing import Any

import pytest

from openhearth.engine.embedding.pooling import PoolingConfig
from openhearth.errors import ModelLoadError
from tests.tiny_encoders import add_pooling


@pytest.mark.parametrize(
    ("declared", "mode"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last_token"),
        ({"pooling_mode": "lasttoken"}, "last_token"),
        ({"pooling_mode": ["cls"]}, "cls"),
    ],
)
def test_modes(tmp_path: Path, declared: dict[str, Any], mode: str) -> None:
    """The mode is read in every form in which it has been written."""
    assert PoolingConfig.read(add_pooling(tmp_path, **declared)).mode == mode


def test_without_files(tmp_path: Path) -> None:
    """A model that says nothing is pooled by the mean."""
    assert PoolingConfig.read(tmp_path) == PoolingConfig(mode="mean", prompt="")


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"pooling_mode_max_tokens": True}, "Pooling by max is not supported; cls, mean, lasttoken are"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "cls and mean"),
        ({}, "Pooling by nothing"),
    ],
)
def test_other_modes_are_refused(tmp_path: Path, declared: dict[str, Any], complaint: str) -> None:
    """A mode that is not supported is named, and so is a choice that is none."""
    with pytest.raises(ModelLoadError, match=complaint):
        PoolingConfig.read(add_pooling(tmp_path, **declared))


def test_other_modules_are_refused(tmp_path: Path) -> None:
    """A model with further layers behind the pooling is not served without them."""
    modules = [{"idx": 0, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ModelLoadError, match="'Dense'"):
        PoolingConfig.read(tmp_path)


def test_default_prompt(tmp_path: Path) -> None:
    """The prompt that a model puts before every text is read, and only that one."""
    config = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "passage"}
    (add_pooling(tmp_path, pooling_mode="mean") / "config_sentence_transformers.json").write_text(json.dumps(config))

    assert PoolingConfig.read(tmp_path).prompt == "passage: "
