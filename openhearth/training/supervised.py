"""Supervised fine-tuning, top to bottom: conversations or prompts in, an adapter that answers like them out."""

import threading

from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from openhearth.training.base_model import common_arguments, context_length, load_model, load_tokenizer, lora_config
from openhearth.training.dataset import Encoder
from openhearth.training.devices import DevicePlan
from openhearth.training.reports import Tell
from openhearth.training.run import read_data, run
from openhearth.training.spec import TrainingSpec


def train(spec: TrainingSpec, plan: DevicePlan, tell: Tell, stop: threading.Event) -> None:
    """Train to the end, or until `stop`. The loss is on the tokens that the data marks, and on no others."""
    tokenizer = load_tokenizer(spec)
    data = read_data(spec, Encoder(tokenizer, max_length=context_length(spec)), tell)
    set_seed(spec.seed)
    arguments = SFTConfig(
        **common_arguments(spec, plan),
        max_length=None,  # the data is cut already
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    trainer = SFTTrainer(
        model=load_model(spec, plan),
        args=arguments,
        train_dataset=data.training.dataset(),
        eval_dataset=data.validation.dataset() if data.validation else None,
        processing_class=tokenizer,
        peft_config=lora_config(spec),
    )
    run(trainer, spec, data, tell, stop)
