"""An adapter put into its base model for good: the weights of one ordinary model, in Hugging Face layout."""

from pathlib import Path
from typing import Literal

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def merge(base_model: Path, adapter: Path, target: Path, *, dtype: Literal["auto", "float32"] = "auto") -> None:
    """Write the merged model and its tokenizer to `target`, in the precision of the base model or in f32."""
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=dtype)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
    AutoTokenizer.from_pretrained(base_model).save_pretrained(target)
