"""Packed rows train what each row would train alone, and the loss is that of the labelled tokens."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from openhearth.training import labelled_loss
from openhearth.training.dataset import IGNORED
from openhearth.training.labelled_loss import LabelledLoss
from openhearth.training.packing import ATTENTION, pack
from tests.tiny_model import make_tiny_model

Example = dict[str, list[int]]


def example(first: int, length: int) -> Example:
    """Return an example whose second half is trained."""
    ids = [(first * 31 + 7 * place) % 250 for place in range(length)]
    return {"input_ids": ids, "labels": [IGNORED] * (length // 2) + ids[length // 2 :]}


EXAMPLES = [example(1, 9), example(2, 1), example(3, 20), example(4, 5)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(params=["everything", "sliding window"])
def models(request: pytest.FixtureRequest, tiny: Path) -> Iterator[tuple[torch.nn.Module, torch.nn.Module]]:
    """Return a model with the attention of packed rows, and the same one with that of its library."""
    if request.param == "everything":
        yield tuple(
            AutoModelForCausalLM.from_pretrained(tiny, attn_implementation=name) for name in (ATTENTION, "sdpa")
        )
        return
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 256}
    config = MistralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=4)
    plain = MistralForCausalLM._from_config(deepcopy(config), attn_implementation="sdpa")
    packed = MistralForCausalLM._from_config(config, attn_implementation=ATTENTION)
    packed.load_state_dict(plain.state_dict())
    yield packed, plain


def test_rows_are_alone(models: tuple[torch.nn.Module, torch.nn.Module]) -> None:
    """Each example has the logits that it has without the others."""
    packed, plain = models
    row = pack(EXAMPLES)
    row.pop("labels")

    with torch.no_grad():
        together = packed(**row, use_cache=False).logits[0].split(row["lengths"].tolist())
        alone = [plain(torch.tensor([example["input_ids"]]), use_cache=False).logits[0] for example in EXAMPLES]

    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_first_label() -> None:
    """The first token of an example is not trained, since what stands before it belongs to another."""
    whole = {"input_ids": [5, 6, 7], "labels": [5, 6, 7]}

    row = pack([whole, whole])

    assert row["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 6, 7]]
    assert row["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2]]


@pytest.mark.parametrize("max_logits", [1, 3 * 50, 2**20])
def test_loss(monkeypatch: pytest.MonkeyPatch, max_logits: int) -> None:
    """Loss, accuracy and gradient are those of the library, whatever the pieces."""
    monkeypatch.setattr(labelled_loss, "_MAX_LOGITS", max_logits)
    torch.manual_seed(0)
    hidden, weight = torch.randn(11, 8, requires_grad=True), torch.randn(50, 8)
    labels = (hidden @ weight.T).argmax(-1)
    labels[3:] = torch.randint(0, 50, (8,))
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    (of_expected,) = torch.autograd.grad(3 * expected, hidden)

    total, num_correct = LabelledLoss.apply(hidden, weight, labels)
    (of_total,) = torch.autograd.grad(3 * total, hidden)

    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(of_total, of_expected)
    assert num_correct == ((hidden @ weight.T).argmax(-1) == labels).sum() >= 3


def test_nothing_to_train() -> None:
    """Rows without a label have the loss 0 and change nothing."""
    hidden = torch.randn(0, 8, requires_grad=True)

    total, num_correct = LabelledLoss.apply(hidden, torch.randn(50, 8), torch.empty(0, dtype=torch.int64))
    total.backward()

    assert (total, num_correct) == (0, 0)
    assert hidden.grad is not None
