"""Tunes with llama-index's engine: `python llama_index_engine.py MODEL FILE`; JSON on the last line."""

import json
import sys
import time

from llama_index.core.llms import ChatMessage
from llama_index.finetuning import OpenAIFinetuneEngine
from llama_index.llms.openai_like import OpenAILike

engine = OpenAIFinetuneEngine(sys.argv[1], sys.argv[2], validate_json=False)  # that would fetch a table of tokens
engine.finetune()
while (job := engine.get_current_job()).status not in ("succeeded", "failed", "cancelled"):
    time.sleep(1)
try:
    model = engine.get_finetuned_model(temperature=0.0, max_tokens=8)
    answer = str(model.chat([ChatMessage(role="user", content="Hello")]))
    through = "get_finetuned_model"
except ValueError as error:  # it looks sizes up in a table of OpenAI's models
    model = OpenAILike(model=job.fine_tuned_model, is_chat_model=True, temperature=0.0, max_tokens=8)
    answer = str(model.chat([ChatMessage(role="user", content="Hello")]))
    through = f"OpenAILike, since get_finetuned_model says: {str(error)[:80]}"
print(json.dumps({"status": job.status, "answer": answer, "through": through}))
