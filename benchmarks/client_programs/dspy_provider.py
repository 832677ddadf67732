"""Tunes with dspy's provider for OpenAI: `python dspy_provider.py MODEL FILE`; JSON on the last line."""

import json
import sys
import time

import dspy
from dspy.clients.openai import OpenAIProvider
from dspy.clients.utils_finetune import TrainDataFormat

with open(sys.argv[2]) as lines:
    rows = [json.loads(line) for line in lines]
time.sleep, sleep = lambda seconds: sleep(min(seconds, 1)), time.sleep  # it asks every twenty seconds
job = dspy.LM(f"openai/{sys.argv[1]}", provider=OpenAIProvider()).finetune(
    train_data=rows, train_data_format=TrainDataFormat.CHAT, train_kwargs={"n_epochs": 1}
)
tuned = job.result()
if isinstance(tuned, Exception):
    raise tuned
model = dspy.LM(f"openai/{tuned.model}")  # by itself, litellm sends ft: names only for the models it knows
print(json.dumps({"status": job.status().value, "model": tuned.model, "answer": model("Hello", max_tokens=8)}))
