"""Copies a finished job to Weights & Biases (offline): `python wandb_sync.py MODEL FILE`; JSON on the last line."""

import json
import sys
import time

from openai import OpenAI
from wandb.integration.openai.fine_tuning import WandbLogger

client = OpenAI()
with open(sys.argv[2], "rb") as rows:
    file = client.files.create(file=rows, purpose="fine-tune")
job = client.fine_tuning.jobs.create(model=sys.argv[1], training_file=file.id, hyperparameters={"n_epochs": 1})
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(1)
    job = client.fine_tuning.jobs.retrieve(job.id)
WandbLogger._logged_in = True  # offline, nobody is; nor are data sets kept
said = WandbLogger.sync(fine_tune_job_id=job.id, openai_client=client, log_datasets=False)
print(json.dumps({"status": job.status, "said": said}))
