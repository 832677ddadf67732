"""The graphs against the reference implementation, on the same random weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from openhearth.engine.base import SamplingParams
from openhearth.engine.text.architectures.config import DecoderConfig
from openhearth.engine.text.architectures.weights import Weights
from openhearth.engine.text.config import EngineConfig
from openhearth.engine.text.model_runner import ModelRunner
from openhearth.engine.text.scheduler import Batch, ScheduledSequence
from openhearth.engine.text.sequence import Sequence as TokenSequence
from openhearth.errors import ConfigurationError, ModelLoadError
from tests.tiny_models import ARCHITECTURES, VOCAB_SIZE, build_tiny_model


def reference_logits(model: Path, token_ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits of every position by transformers in float32."""
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        logits: NDArray[np.float32] = reference(torch.tensor([list(token_ids)])).logits[0].numpy()
    return logits


def scored(token_ids: list[int], blocks: list[int]) -> TokenSequence:
    """Return a sequence all of whose logits are wanted."""
    params = SamplingParams(prompt_logprobs=0)
    return TokenSequence(0, 0, token_ids, params, block_table=blocks)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_agree_with_the_reference(tmp_path: Path, architecture: str) -> None:
    """Two sequences in one batch, one of them in two chunks, give the reference's logits at every position."""
    model = build_tiny_model(tmp_path, architecture)
    rng = np.random.default_rng(1)
    first, second = (rng.integers(3, VOCAB_SIZE, size).tolist() for size in (70, 9))
    runner = ModelRunner(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    one, two = scored(first, [3, 1, 5]), scored(second, [2])

    begin = runner.run(Batch([ScheduledSequence(one, 0, 40)])).copy()
    rest = runner.run(Batch([ScheduledSequence(two, 0, 9), ScheduledSequence(one, 40, 70)]))

    assert np.abs(np.concatenate([begin, rest[9:]]) - reference_logits(model, first)).max() < 2e-4
    assert np.abs(rest[:9] - reference_logits(model, second)).max() < 2e-4


@pytest.mark.parametrize(("dtype", "tolerance"), [("f16", 2e-2), ("int8", 0.5)])
def test_smaller_weights_stay_close(tmp_path: Path, dtype: str, tolerance: float) -> None:
    """Weights of 16 and 8 bits give nearly the reference's logits."""
    model = build_tiny_model(tmp_path)
    token_ids = np.random.default_rng(1).integers(3, VOCAB_SIZE, 40).tolist()
    runner = ModelRunner(model, EngineConfig(dtype=dtype, kv_cache_bytes=2**22))  # type: ignore[arg-type]

    logits = runner.run(Batch([ScheduledSequence(scored(token_ids, [0, 1]), 0, 40)]))

    assert np.abs(logits - reference_logits(model, token_ids)).mean() < tolerance


def test_bfloat16_weights_are_read_exactly(tmp_path: Path) -> None:
    """Checkpoints in bfloat16, which numpy does not know, are read without a tensor library."""
    model = build_tiny_model(tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    reference.save_pretrained(tmp_path / "bf16")

    weight = Weights(tmp_path / "bf16")["model.layers.0.mlp.up_proj.weight"]

    expected = reference.model.layers[0].mlp.up_proj.weight.detach().float().numpy()
    assert np.array_equal(weight, expected)


def test_copied_blocks_hold_the_same_prefix(tmp_path: Path) -> None:
    """A sequence that continues from a copy of another's block gets the logits it would have alone."""
    model = build_tiny_model(tmp_path)
    token_ids = np.random.default_rng(1).integers(3, VOCAB_SIZE, 12).tolist()
    runner = ModelRunner(model, EngineConfig(dtype="f32", kv_cache_bytes=2**22))
    runner.run(Batch([ScheduledSequence(scored(token_ids, [0]), 0, 11)]))

    logits = runner.run(Batch([ScheduledSequence(scored(token_ids, [7]), 11, 12)], [(0, 7)]))

    assert np.abs(logits[0] - reference_logits(model, token_ids)[-1]).max() < 2e-4


class TestRefusals:
    """What cannot be built is named."""

    def test_architecture(self) -> None:
        """An unknown architecture is refused with the list of known ones."""
        with pytest.raises(ModelLoadError, match=r"GemmaForCausalLM.*LlamaForCausalLM"):
            DecoderConfig.from_dict({"architectures": ["GemmaForCausalLM"]})

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"hidden_act": "gelu"}, "gelu"),
            ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
            ({"partial_rotary_factor": 0.5}, "part of each head"),
        ],
    )
    def test_variants(self, change: dict[str, object], complaint: str) -> None:
        """A known architecture in a form that would be computed wrongly is refused."""
        config = {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "vocab_size": 32,
        }

        with pytest.raises(ModelLoadError, match=complaint):
            DecoderConfig.from_dict(config | change)

    def test_missing_weights(self, tmp_path: Path) -> None:
        """A folder without safetensors is refused, whatever else it holds."""
        (tmp_path / "pytorch_model.bin").write_bytes(b"not opened")

        with pytest.raises(ModelLoadError, match="no safetensors"):
            Weights(tmp_path)

    def test_broken_weights(self, tmp_path: Path) -> None:
        """A file that is no safetensors file is named."""
        (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)

        with pytest.raises(ModelLoadError, match="is not a safetensors file"):
            Weights(tmp_path)

    def test_missing_tensor(self, tmp_path: Path) -> None:
        """A tensor that should be there is named."""
        with pytest.raises(ModelLoadError, match=r"lm_head\.weight"):
            Weights(build_tiny_model(tmp_path))["lm_head.weight"]

    def test_cache_too_small(self, tmp_path: Path) -> None:
        """A cache without room for two blocks is refused with a size that would do."""
        with pytest.raises(ConfigurationError, match="kv_cache_bytes"):
            ModelRunner(build_tiny_model(tmp_path), EngineConfig(kv_cache_bytes=10_000))
