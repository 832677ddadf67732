"""The trainers, at a size that says nothing about what they learn, only that they go, stop and go on."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch
import transformers

from image_model import package, train_decoder, train_denoiser
from image_model.data import SceneBatch, SceneStream, collate
from image_model.runs import Run
from image_model.scenes import Imagination
from image_model.sprites import Sprites
from openhearth.engine.image.retrieval.captions import CaptionEncoder
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.unet import RetrievalUNet

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers and transformers warn of their own ways

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "ball", "car")


@pytest.fixture
def tiny(sprites: Sprites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put little in the place of what is large: the encoder, batches, the decoder. Give the folder of results."""
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=384, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    tokenizer = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})
    encoder = CaptionEncoder(transformers.BertModel(config), tokenizer)

    def batches(stream: SceneStream, size: int) -> Iterator[SceneBatch]:
        imagination, random = Imagination(sprites, "train"), Random(1)
        while True:
            yield collate([imagination.draw(imagination.scene(random), random) for _ in range(min(size, 4))])

    monkeypatch.setattr(Sprites, "load", lambda: sprites)
    for module in (train_decoder, train_denoiser):
        monkeypatch.setattr(module, "batches", batches, raising=False)
        monkeypatch.setattr(module, "DECODER", tmp_path, raising=False)
        monkeypatch.setattr(module, "encoder", lambda: encoder, raising=False)
    monkeypatch.setattr(package, "DECODER", tmp_path)
    torch.manual_seed(0)
    vae = PatchVAE(width=8, fine_width=4, num_layers=1)
    vae.fit(torch.rand(8, 4, 256, 256))
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path


class FewSteps(Run):
    """A sitting of one step, however long that takes."""

    def steps(self, first, save, *, last=None):  # type: ignore[no-untyped-def]
        """See `Run.steps`."""
        return super().steps(first, save, last=first + 1)


@pytest.mark.parametrize("variant", ["retrieval", "text"])
def test_the_denoiser_learns_and_resumes(tiny: Path, variant: train_denoiser.Variant) -> None:
    """Every sitting begins where the last one ended; the average is written as a model that loads."""
    for step in (1, 2):
        run = FewSteps(tiny / variant, minutes=1)
        training = train_denoiser.Training(run, variant, (32, 32, 32), is_bf16=step == 2)
        training.go(None, finish=step == 2)

        state = run.resume()
        assert state is not None
        assert state["step"] == step
        assert all(value.dtype == torch.float16 for value in state["average"].values() if value.is_floating_point())
    unet = RetrievalUNet.from_pretrained(tiny / variant / "unet")
    assert unet.conv_out.weight.abs().sum() > 0


def test_the_decoder_learns_and_resumes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes an autoencoder that loads, and says how good it is."""
    monkeypatch.setattr(train_decoder, "_FITTED_ON", 96)
    for _ in range(2):
        run = FewSteps(tiny / "decoder", minutes=1)
        train_decoder.train(run, 10)

    state = run.resume()
    assert state is not None
    assert state["step"] == 2
    assert PatchVAE.from_pretrained(tiny / "decoder/vae").last.weight.abs().sum() > 0
    assert "linear_db" in (tiny / "decoder/log.jsonl").read_text()


def test_the_package_is_whole(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in half precision, the bank, the index and whose art it is; too large a one is refused."""
    monkeypatch.setattr("image_model.bank.encoder", getattr(train_denoiser, "encoder"))  # noqa: B009
    RetrievalUNet(block_out_channels=(32, 32, 32)).save_pretrained(tiny / "unet")

    size = package.write_package(tiny / "unet", tiny / "package")

    assert size < package.MAX_BYTES
    index = json.loads((tiny / "package/model_index.json").read_text())
    assert index["unet"] == ["openhearth.engine.image.retrieval.unet", "RetrievalUNet"]
    assert "Apache-2.0" in (tiny / "package/NOTICE").read_text()
    assert (tiny / "package/bank/bank.json").exists()
    monkeypatch.setattr(package, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="more than 1000"):
        package.write_package(tiny / "unet", tiny / "package")
