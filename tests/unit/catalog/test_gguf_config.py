"""What of a GGUF file can be said in a Hugging Face configuration, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openhearth.catalog.gguf_config import hf_config, hf_generation_config
from openhearth.catalog.gguf_file import GGUFFile
from openhearth.catalog.gguf_tensors import hf_name, hf_tensor
from openhearth.errors import ModelLoadError
from tests.unit.catalog.builders import build_gguf, llama_fields, write_gguf


def open_gguf(
    directory: Path,
    fields: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray[Any, Any]] | None = None,
    *,
    architecture: str = "llama",
) -> GGUFFile:
    """Write a file with a token embedding and whatever else, and open it."""
    tensors = {"token_embd.weight": np.zeros((4, 32), np.float32)} | (tensors or {})
    fields = llama_fields(architecture) | (fields or {})
    return GGUFFile(write_gguf(directory / "model.gguf", fields, tensors, architecture=architecture))


def test_numbers_are_written_as_they_were_meant(tmp_path: Path) -> None:
    """An f32 of the file becomes the short decimal that it came from."""
    config = hf_config(open_gguf(tmp_path))

    assert (config["rms_norm_eps"], config["rope_theta"]) == (1e-05, 10000.0)


def test_the_layers_without_positions_are_named(tmp_path: Path) -> None:
    """SmolLM3 uses positions in three of four layers, and the configuration says in which."""
    fields = {"smollm3.block_count": 8}

    config = hf_config(open_gguf(tmp_path, fields, architecture="smollm3"))

    assert config["no_rope_layers"] == [1, 1, 1, 0, 1, 1, 1, 0]


def test_a_model_may_have_two_tokens_that_end_a_text(tmp_path: Path) -> None:
    """The end of a turn ends a text as well, where it is another token."""
    fields = {"tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.eot_token_id": 3}

    assert hf_generation_config(open_gguf(tmp_path, fields))["eos_token_id"] == [2, 3]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"llama.expert_count": 8}, "a mixture of experts"),
        ({"llama.rope.dimension_count": 4}, "rotates only a part"),
        ({"llama.rope.scaling.type": "yarn"}, "stretches its context by yarn"),
        ({"split.count": 2}, "one part of a split GGUF file"),
    ],
)
def test_what_cannot_be_converted_is_refused(fields: dict[str, Any], reason: str, tmp_path: Path) -> None:
    """A model that would compute something else after conversion is refused by what is special about it."""
    with pytest.raises(ModelLoadError, match=reason):
        hf_config(open_gguf(tmp_path, fields))


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """The refusal names the architecture and those that are supported."""
    with pytest.raises(
        ModelLoadError, match=r"the architecture gemma3, .* dense models of llama, qwen2, qwen3, smollm3"
    ):
        hf_config(open_gguf(tmp_path, architecture="gemma3"))


def test_a_context_stretched_by_unknown_factors_is_refused(tmp_path: Path) -> None:
    """Factors that Llama 3's rule does not explain cannot be said in a configuration."""
    with pytest.raises(ModelLoadError, match="in a way of its own"):
        hf_config(open_gguf(tmp_path, tensors={"rope_freqs.weight": np.array([1, 7, 2, 8], np.float32)}))


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    """A file without a number that the configuration needs is refused by that number."""
    file = write_gguf(tmp_path / "model.gguf", {"llama.context_length": 8}, {"token_embd.weight": np.zeros((4, 32))})

    with pytest.raises(ModelLoadError, match=r"lacks llama\.attention\.head_count"):
        hf_config(GGUFFile(file))


def test_a_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    """A tensor that the architecture does not have is never dropped in silence."""
    gguf = open_gguf(tmp_path)

    with pytest.raises(ModelLoadError, match=r"blk\.0\.ffn_gate_exps\.weight"):
        hf_name(gguf, "blk.0.ffn_gate_exps.weight")


def test_a_way_to_store_numbers_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """A tensor in a type that cannot be read is refused by its name and type."""
    gguf = open_gguf(tmp_path, tensors={"output_norm.weight": np.ones(4, np.int8)})

    with pytest.raises(ModelLoadError, match=r"stores output_norm\.weight as I8"):
        hf_tensor(gguf, "output_norm.weight")


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    """A file with a vocabulary alone is refused by the tensor that is missing."""
    file = write_gguf(tmp_path / "model.gguf", llama_fields(), {"other.weight": np.zeros((4, 32), np.float32)})

    with pytest.raises(ModelLoadError, match=r"lacks the tensor token_embd\.weight"):
        hf_config(GGUFFile(file))


def test_weights_beyond_f16_keep_their_precision(tmp_path: Path) -> None:
    """A tensor with a value that f16 cannot hold stays f32."""
    gguf = open_gguf(tmp_path, tensors={"output_norm.weight": np.array([1e6, 1], np.float32)})

    tensor = hf_tensor(gguf, "output_norm.weight")

    assert tensor.dtype == np.float32
    assert tensor.tolist() == [1e6, 1]


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.9, 0.999])
def test_a_file_that_ends_too_early_is_refused(fraction: float, tmp_path: Path) -> None:
    """A file that was not copied to its end is refused by its path, wherever it ends."""
    file = build_gguf(tmp_path / "model.gguf")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * fraction)])

    with pytest.raises(ModelLoadError, match="cannot be read as a GGUF file"):
        GGUFFile(file)


def test_a_broken_text_is_refused(tmp_path: Path) -> None:
    """A value that is not UTF-8 is refused by its key."""
    file = write_gguf(tmp_path / "model.gguf", {"general.name": "tiny-name"}, {"token_embd.weight": np.zeros((4, 32))})
    file.write_bytes(file.read_bytes().replace(b"tiny-name", b"tiny-\xffame"))

    with pytest.raises(ModelLoadError, match=r"a broken value of general\.name"):
        GGUFFile(file).get("general.name")


def test_a_file_that_is_not_gguf_is_refused(tmp_path: Path) -> None:
    """Any other file is refused by its path."""
    (tmp_path / "model.gguf").write_bytes(b"\x80\x04pickle, perhaps")

    with pytest.raises(ModelLoadError, match="cannot be read as a GGUF file"):
        GGUFFile(tmp_path / "model.gguf")
