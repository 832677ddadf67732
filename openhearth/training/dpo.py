"""Direct preference optimization (https://arxiv.org/abs/2305.18290): of two answers, make the better one likelier."""

from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from openhearth.training.base_model import common_arguments, load_model, lora_config
from openhearth.training.dataset import RunData
from openhearth.training.devices import DevicePlan
from openhearth.training.spec import TrainingSpec


def make_trainer(
    spec: TrainingSpec, plan: DevicePlan, tokenizer: PreTrainedTokenizerBase, data: RunData
) -> "TokenizedDPOTrainer":
    """Return the trainer. The reference is the model as it was before; `beta` holds it close to that."""
    arguments = DPOConfig(
        **common_arguments(spec, plan),
        beta=spec.beta,
        max_length=None,  # the data is cut already
    )
    return TokenizedDPOTrainer(
        model=load_model(spec, plan, attention="sdpa"),
        args=arguments,
        processing_class=tokenizer,
        peft_config=lora_config(spec),
        **data.datasets(),
    )


class TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]  # the library is untyped
    """Takes its datasets as they are: prompts and answers are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_args: Any) -> Dataset:
        return dataset
