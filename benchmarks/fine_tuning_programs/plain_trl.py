"""Supervised fine-tuning as TRL's own documentation writes it: `plain_trl.py WORKLOAD`, a LoRA on rows as they are.

Knows nothing of openhearth. Prints JSON on its last line: the seconds from the first step to the end of the last, the
tokens of the rows that it saw, and the mean loss of the last epoch.
"""

import json
import sys
import time
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Keeps the times at which training began and the last step ended."""

    began = ended = 0.0

    def on_train_begin(self, *_args, **_kwargs):
        """Training begins."""
        self.began = time.perf_counter()

    def on_step_end(self, *_args, **_kwargs):
        """A step ended."""
        self.ended = time.perf_counter()


def main(workload: dict) -> None:
    """Train, and print what it took."""
    torch.set_num_threads(workload["num_threads"])
    clock = Clock()
    trainer = SFTTrainer(
        model=workload["model"],
        args=SFTConfig(
            output_dir=workload["output_dir"],
            num_train_epochs=workload["n_epochs"],
            per_device_train_batch_size=workload["batch_size"],
            learning_rate=workload["learning_rate"],
            seed=workload["seed"],
            use_cpu=True,
            bf16=workload["dtype"] == "bf16",
            gradient_checkpointing=False,
            model_init_kwargs={"dtype": "bfloat16" if workload["dtype"] == "bf16" else "float32"},
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=load_dataset("json", data_files=workload["prompt_completion_file"], split="train"),
        peft_config=LoraConfig(
            r=workload["r"],
            lora_alpha=workload["lora_alpha"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[clock],
    )
    trainer.train()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    last_epoch = logs[-len(logs) // workload["n_epochs"] :]
    figures = {
        "seconds": clock.ended - clock.began,
        "num_tokens": logs[-1]["num_tokens"],
        "loss": sum(log["loss"] for log in last_epoch) / len(last_epoch),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
