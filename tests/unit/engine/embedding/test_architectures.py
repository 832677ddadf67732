"""The graphs against the reference implementation, on the same random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from transformers import AutoModel

from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.embedding.model_runner import ModelRunner, padded_length
from openhearth.engine.embedding.pooling import PoolingMode
from openhearth.errors import ModelLoadError
from tests.tiny_encoders import ENCODERS, MAX_MODEL_LEN, build_tiny_encoder
from tests.tiny_models import ARCHITECTURES, VOCAB_SIZE, build_tiny_model

EXACT = EmbeddingConfig(dtype="f32")


def inputs(*lengths: int) -> list[list[int]]:
    """Return random inputs of these lengths."""
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB_SIZE, length).tolist() for length in lengths]


def reference_vector(model: Path, token_ids: list[int], pooling: PoolingMode) -> NDArray[np.float32]:
    """Return the vector of one input, computed alone by transformers in float32."""
    reference = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden: NDArray[np.float32] = reference(torch.tensor([token_ids])).last_hidden_state[0].numpy()
    vector: NDArray[np.float32] = {"cls": hidden[0], "mean": hidden.mean(0), "last_token": hidden[-1]}[pooling]
    return vector / np.linalg.norm(vector)


def assert_agrees(model: Path, pooling: PoolingMode, *lengths: int) -> None:
    """Assert that inputs in one batch have the vectors the reference gives each of them alone."""
    batch = inputs(*lengths)

    vectors = ModelRunner(model, EXACT, pooling).run(batch)

    expected = np.stack([reference_vector(model, token_ids, pooling) for token_ids in batch])
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() < 2e-5


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_agree_with_the_reference(tmp_path: Path, encoder: str) -> None:
    """Inputs of all lengths in one batch, the longest possible among them, have the reference's vectors."""
    assert_agrees(build_tiny_encoder(tmp_path, encoder), "mean", 1, 5, 17, 90, MAX_MODEL_LEN)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_decoders_agree_with_the_reference(tmp_path: Path, architecture: str) -> None:
    """Decoders see the past alone, within their window, whatever padding follows."""
    assert_agrees(build_tiny_model(tmp_path, architecture), "last_token", 1, 5, 33, 150)


@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
def test_pooling(tmp_path: Path, pooling: PoolingMode) -> None:
    """A vector is made of the first token, of all, or of the last; padding has no part in it."""
    assert_agrees(build_tiny_encoder(tmp_path), pooling, 2, 9, 31)


def test_decoder_without_a_head(tmp_path: Path) -> None:
    """Embedding models are saved without the part that predicts, under shorter names."""
    model = build_tiny_model(tmp_path, "qwen3")
    expected = ModelRunner(model, EXACT, "last_token").run(inputs(9))
    tensors = load_file(model / "model.safetensors")
    save_file({name.removeprefix("model."): tensor for name, tensor in tensors.items()}, model / "model.safetensors")
    config = json.loads((model / "config.json").read_text()) | {"architectures": ["Qwen3Model"]}
    (model / "config.json").write_text(json.dumps(config))

    vectors = ModelRunner(model, EXACT, "last_token").run(inputs(9))

    assert np.array_equal(vectors, expected)


def test_encoder_below_a_head(tmp_path: Path) -> None:
    """An encoder saved for predicting masked words gives the same vectors."""
    model = build_tiny_encoder(tmp_path)
    expected = ModelRunner(model, EXACT, "mean").run(inputs(9))
    tensors = load_file(model / "model.safetensors")
    save_file({f"bert.{name}": tensor for name, tensor in tensors.items()}, model / "model.safetensors")
    config = json.loads((model / "config.json").read_text()) | {"architectures": ["BertForMaskedLM"]}
    (model / "config.json").write_text(json.dumps(config))

    vectors = ModelRunner(model, EXACT, "mean").run(inputs(9))

    assert np.array_equal(vectors, expected)


def test_bf16_stays_close(tmp_path: Path) -> None:
    """Where the processor has 16-bit arithmetic, vectors keep their direction nearly."""
    model = build_tiny_encoder(tmp_path)
    exact = ModelRunner(model, EXACT, "mean").run(inputs(9, 40))

    vectors = ModelRunner(model, EmbeddingConfig(dtype="bf16"), "mean").run(inputs(9, 40))

    assert (vectors * exact).sum(1).min() > 0.999
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_padded_lengths_are_few() -> None:
    """Lengths are rounded up: finely where padding would cost much, coarsely where it would not."""
    assert [padded_length(length) for length in (1, 8, 9, 64, 65, 97, 512)] == [8, 8, 16, 64, 96, 128, 512]


class TestRefusals:
    """What cannot be built is named."""

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"architectures": ["NomicBertModel"]}, "cannot build NomicBertModel; it knows BertModel"),
            ({"architectures": []}, "an unnamed architecture"),
            ({"position_embedding_type": "relative_key"}, "'relative_key' are not supported"),
            ({"hidden_act": "silu"}, "'silu' is not supported; gelu"),
        ],
    )
    def test_config(self, tmp_path: Path, change: dict[str, object], complaint: str) -> None:
        """Architectures, position embeddings and activations that no builder knows are refused by name."""
        model = build_tiny_encoder(tmp_path)
        config = json.loads((model / "config.json").read_text()) | change
        (model / "config.json").write_text(json.dumps(config))

        with pytest.raises(ModelLoadError, match=complaint):
            ModelRunner(model, EXACT, "mean")

    def test_missing_tensor(self, tmp_path: Path) -> None:
        """A tensor that is not in the weights is named."""
        model = build_tiny_encoder(tmp_path)
        tensors = load_file(model / "model.safetensors")
        del tensors["encoder.layer.1.output.dense.weight"]
        save_file(tensors, model / "model.safetensors")

        with pytest.raises(ModelLoadError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
            ModelRunner(model, EXACT, "mean")
