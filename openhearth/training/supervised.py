"""Supervised fine-tuning: conversations or prompts in, an adapter that answers like them out."""

from transformers import PreTrainedTokenizerBase
from trl import SFTConfig

from openhearth.training.base_model import common_arguments, load_model, lora_config
from openhearth.training.dataset import RunData
from openhearth.training.devices import DevicePlan
from openhearth.training.packed_trainer import PackedSFTTrainer
from openhearth.training.packing import ATTENTION
from openhearth.training.spec import TrainingSpec


def make_trainer(
    spec: TrainingSpec, plan: DevicePlan, tokenizer: PreTrainedTokenizerBase, data: RunData
) -> PackedSFTTrainer:
    """Return the trainer. The loss is on the tokens that the data marks, and on no others."""
    arguments = SFTConfig(
        **common_arguments(spec, plan),
        max_length=None,  # the data is cut already
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    return PackedSFTTrainer(
        model=load_model(spec, plan, attention=ATTENTION),
        args=arguments,
        processing_class=tokenizer,
        peft_config=lora_config(spec),
        **data.datasets(),
    )
