"""The model that is trained, and the settings of a run that all methods share."""

import math
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from openhearth.training.devices import DevicePlan
from openhearth.training.spec import TrainingSpec


def load_tokenizer(spec: TrainingSpec) -> PreTrainedTokenizerBase:
    """Return the base model's tokenizer."""
    return AutoTokenizer.from_pretrained(spec.base_model)


def context_length(spec: TrainingSpec) -> int:
    """Return how many tokens an example may have: as many as the model takes, or fewer if the spec says so."""
    limit: int = AutoConfig.from_pretrained(spec.base_model).max_position_embeddings
    return min(limit, spec.max_length or limit)


def load_model(spec: TrainingSpec, plan: DevicePlan, *, attention: str) -> PreTrainedModel | PeftModel:
    """Return the base model, with the adapter to start from if there is one."""
    model = AutoModelForCausalLM.from_pretrained(spec.base_model, dtype=plan.dtype, attn_implementation=attention)
    if spec.init_adapter is None:
        return model
    return PeftModel.from_pretrained(model, spec.init_adapter, is_trainable=True)


def lora_config(spec: TrainingSpec) -> LoraConfig | None:
    """Return the adapter to make, unless there is one to start from."""
    if spec.init_adapter is not None:
        return None
    modules = spec.lora.target_modules
    return LoraConfig(
        r=spec.lora.r,
        lora_alpha=spec.lora.lora_alpha,
        lora_dropout=spec.lora.lora_dropout,
        target_modules=modules if modules == "all-linear" else [name.strip() for name in modules.split(",")],
        task_type="CAUSAL_LM",
    )


def common_arguments(spec: TrainingSpec, plan: DevicePlan) -> dict[str, Any]:
    """Return the arguments that the trainers of all methods take.

    Each process computes an equal share of a batch, a large one in parts of equal size, so that memory is bounded by
    `max_micro_batch_size` examples.
    """
    share = spec.batch_size // plan.num_processes
    micro = max(size for size in range(1, spec.max_micro_batch_size + 1) if share % size == 0)
    return {
        "output_dir": str(spec.output_dir),
        "num_train_epochs": spec.n_epochs,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": share // micro,
        "ddp_find_unused_parameters": False,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": "linear",
        "seed": spec.seed,
        "data_seed": spec.seed,
        "bf16": plan.bf16,
        "use_cpu": plan.device == "cpu",
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # checkpoints are asked for by `Progress`
        "eval_strategy": "no",  # so are measurements
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": plan.device == "cuda",
    }


def steps_per_epoch(spec: TrainingSpec, num_examples: int) -> int:
    """Return how many steps one pass over the examples takes; the last one may be smaller."""
    return math.ceil(num_examples / spec.batch_size)


def newest(checkpoint: Path | None) -> int:
    """Return the step of a checkpoint, 0 for none."""
    return 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])
