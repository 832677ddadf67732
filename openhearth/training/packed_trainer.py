"""TRL's supervised trainer, on packed rows and with the loss on labelled tokens alone.

Per row it computes what the trainer would without either; the sums behind loss and accuracy are over tokens, however
the rows of a batch are spread over parts and processes.
"""

from typing import Any

import torch
from datasets import Dataset
from trl import SFTTrainer

from openhearth.training.dataset import IGNORED
from openhearth.training.labelled_loss import LabelledLoss
from openhearth.training.packing import pack


class PackedSFTTrainer(SFTTrainer):  # type: ignore[misc]  # the library is untyped
    """Takes `input_ids` and `labels`, and a model that was loaded with the attention of `packing.py`."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, data_collator=pack)
        base = self.model.get_base_model()
        self._head = base.get_output_embeddings()
        base.set_output_embeddings(torch.nn.Identity())  # the model gives what the head would read
        self._num_correct = torch.zeros((), dtype=torch.int64, device=self.args.device)
        self._num_labels = torch.zeros_like(self._num_correct)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return this part's share of the mean loss over all labelled tokens of a batch, `num_items_in_batch`."""
        total, num_correct, num_labels = self._measure(model, inputs)
        self._num_correct += num_correct
        self._num_labels += num_labels
        num_items = num_labels if num_items_in_batch is None else num_items_in_batch
        # the gradients of several processes are averaged, so each one's share counts that much more
        return total / num_items.clamp(min=1) * self.accelerator.num_processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the accuracy over the tokens of the step, of all processes."""
        if "loss" in logs:
            num_correct, num_labels = self.accelerator.reduce((self._num_correct, self._num_labels))
            logs["mean_token_accuracy"] = (num_correct / num_labels.clamp(min=1)).item()
            self._num_correct, self._num_labels = (torch.zeros_like(count) for count in (num_correct, num_labels))
        super().log(logs, start_time)

    def evaluate(self, eval_dataset: Dataset, **_options: Any) -> dict[str, float]:
        """Return loss and accuracy over all labelled tokens of a dataset; every process measures the whole."""
        self.model.eval()
        examples, size = eval_dataset.to_list(), self.args.per_device_eval_batch_size
        with torch.no_grad(), self.compute_loss_context_manager():
            parts = [
                self._measure(self.model, self._prepare_inputs(pack(examples[begin : begin + size])))
                for begin in range(0, len(examples), size)
            ]
        total, num_correct, num_labels = (sum(counts).item() for counts in zip(*parts, strict=True))
        return {"eval_loss": total / max(1, num_labels), "eval_mean_token_accuracy": num_correct / max(1, num_labels)}

    def _measure(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the summed loss of a packed row, how many labels were the likeliest token, and how many there are."""
        row = dict(inputs)
        labels = row.pop("labels")[0, 1:]
        (before,) = (labels != IGNORED).nonzero(as_tuple=True)
        hidden = model(**row, logits_to_keep=before, use_cache=False).logits[0]
        total, num_correct = LabelledLoss.apply(hidden, self._head.weight, labels[before])
        return total, num_correct, torch.tensor(len(before), device=total.device)
