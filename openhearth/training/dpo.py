"""Direct preference optimization (https://arxiv.org/abs/2305.18290): of two answers, make the better one likelier."""

import threading
from typing import Any

from datasets import Dataset
from transformers import set_seed
from trl import DPOConfig, DPOTrainer

from openhearth.training.base_model import common_arguments, context_length, load_model, load_tokenizer, lora_config
from openhearth.training.dataset import Encoder
from openhearth.training.devices import DevicePlan
from openhearth.training.reports import Tell
from openhearth.training.run import read_data, run
from openhearth.training.spec import TrainingSpec


def train(spec: TrainingSpec, plan: DevicePlan, tell: Tell, stop: threading.Event) -> None:
    """Train to the end, or until `stop`. The reference is the model as it was before; `beta` holds it close to that."""
    tokenizer = load_tokenizer(spec)
    data = read_data(spec, Encoder(tokenizer, max_length=context_length(spec)), tell)
    set_seed(spec.seed)
    arguments = DPOConfig(
        **common_arguments(spec, plan),
        beta=spec.beta,
        max_length=None,  # the data is cut already
    )
    trainer = _TokenizedDPOTrainer(
        model=load_model(spec, plan),
        args=arguments,
        train_dataset=data.training.dataset(),
        eval_dataset=data.validation.dataset() if data.validation else None,
        processing_class=tokenizer,
        peft_config=lora_config(spec),
    )
    run(trainer, spec, data, tell, stop)


class _TokenizedDPOTrainer(DPOTrainer):  # type: ignore[misc]  # the library is untyped
    """Takes its datasets as they are: prompts and answers are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_args: Any) -> Dataset:
        return dataset
