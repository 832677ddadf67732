"""An adapter put into its base model for good: the weights of one ordinary model, in Hugging Face layout."""

from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def merge(base_model: Path, adapter: Path, target: Path) -> None:
    """Write the merged model and its tokenizer to `target`, in the precision of the base model."""
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype="auto")
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
    AutoTokenizer.from_pretrained(base_model).save_pretrained(target)
