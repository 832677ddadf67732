"""What a model directory holds."""

import json
from pathlib import Path

import pytest

from openhearth.catalog.folders import EMBEDDING_ARCHITECTURES, TEXT_ARCHITECTURES, is_model_folder, read_folder
from openhearth.engine.embedding.architectures.decoder import DECODER_ARCHITECTURES
from openhearth.engine.embedding.architectures.encoder import ENCODER_ARCHITECTURES
from openhearth.engine.text.architectures.config import SUPPORTED_ARCHITECTURES
from tests.unit.catalog.builders import build_folder


def test_a_causal_language_model_is_a_text_model(tmp_path: Path) -> None:
    """Kind, context and size of a text model come from its files."""
    path = build_folder(tmp_path / "model", max_position_embeddings=4096)

    folder = read_folder(path)

    assert (folder.kind, folder.context_length, folder.problem) == ("text", 4096, None)
    assert folder.size_bytes == (path / "model.safetensors").stat().st_size
    assert folder.created == int((path / "config.json").stat().st_mtime)


def test_the_text_engine_builds_what_the_catalog_accepts() -> None:
    """Neither knows the other, so that this is where they agree on the architectures."""
    assert set(TEXT_ARCHITECTURES) == set(SUPPORTED_ARCHITECTURES)


def test_the_embedding_engine_builds_what_the_catalog_accepts() -> None:
    """The same holds for the architectures of embedding models."""
    built = {*ENCODER_ARCHITECTURES, *DECODER_ARCHITECTURES}

    assert {*EMBEDDING_ARCHITECTURES, *TEXT_ARCHITECTURES} == built


def test_positions_that_padding_takes_do_not_count(tmp_path: Path) -> None:
    """RoBERTa has 514 positions for 512 tokens."""
    path = build_folder(tmp_path / "model", architectures=["RobertaModel"], max_position_embeddings=514, pad_token_id=1)

    assert read_folder(path).context_length == 512


@pytest.mark.parametrize("architecture", ["BertModel", "XLMRobertaModel", "Qwen3Model"])
def test_an_encoder_is_an_embedding_model(architecture: str, tmp_path: Path) -> None:
    """An encoder of the BERT family turns text into vectors."""
    folder = read_folder(build_folder(tmp_path / "model", architectures=[architecture]))

    assert (folder.kind, folder.problem) == ("embedding", None)


def test_a_sentence_transformer_takes_what_its_encoder_takes(tmp_path: Path) -> None:
    """The limit is the encoder's own, not the length at which its library would cut texts off."""
    path = build_folder(tmp_path / "model", architectures=["BertModel"], max_position_embeddings=512)
    (path / "modules.json").write_text("[]", encoding="utf-8")
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256}), encoding="utf-8")

    folder = read_folder(path)

    assert (folder.kind, folder.context_length) == ("embedding", 512)


def test_a_pipeline_is_an_image_model(tmp_path: Path) -> None:
    """A directory with a pipeline's index makes images, and its weights lie in folders below."""
    path = build_folder(tmp_path / "model", weights="unet/model.safetensors")
    (path / "config.json").rename(path / "model_index.json")

    folder = read_folder(path)

    assert (folder.kind, folder.problem) == ("image", None)


def test_a_folder_without_a_description_is_no_model(tmp_path: Path) -> None:
    """Weights alone do not make a model."""
    (tmp_path / "model.safetensors").touch()

    assert not is_model_folder(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    """A directory with nothing but pickled weights is refused by their name."""
    path = build_folder(tmp_path / "model", weights="pytorch_model.bin")

    assert "pytorch_model.bin" in str(read_folder(path).problem)


def test_pickled_weights_beside_safetensors_do_no_harm(tmp_path: Path) -> None:
    """A directory that has both is fine: only the safetensors are read."""
    path = build_folder(tmp_path / "model")
    (path / "pytorch_model.bin").touch()

    assert read_folder(path).problem is None


def test_missing_weights_are_reported(tmp_path: Path) -> None:
    """A directory with no weights at all says so."""
    path = build_folder(tmp_path / "model")
    (path / "model.safetensors").unlink()

    assert read_folder(path).problem == "it has no weights in the safetensors format."


def test_code_of_the_repository_is_not_run(tmp_path: Path) -> None:
    """A model that needs its repository's code is refused for that reason."""
    path = build_folder(tmp_path / "model", architectures=["OwnForCausalLM"], auto_map={"AutoModel": "modeling.Own"})

    assert "code from the model's own repository" in str(read_folder(path).problem)


def test_code_of_the_repository_is_not_needed_for_a_known_architecture(tmp_path: Path) -> None:
    """A known architecture is served natively, whatever code the repository offers."""
    path = build_folder(tmp_path / "model", auto_map={"AutoModel": "modeling.Own"})

    assert read_folder(path).problem is None


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """The refusal says what would have been accepted."""
    problem = read_folder(build_folder(tmp_path / "model", architectures=["T5ForConditionalGeneration"])).problem

    assert problem is not None
    assert "T5ForConditionalGeneration is not supported; supported are LlamaForCausalLM" in problem


def test_a_broken_description_is_reported(tmp_path: Path) -> None:
    """A description that is no JSON is a problem of this model alone."""
    path = build_folder(tmp_path / "model")
    (path / "config.json").write_text("{", encoding="utf-8")

    assert "config.json cannot be read" in str(read_folder(path).problem)
