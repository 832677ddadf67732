"""sentence-transformers as its users call it; concurrent callers take turns. A third argument names the precision."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import torch
from harness import NUM_CLIENTS, serve_rows
from sentence_transformers import SentenceTransformer

precision = {"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[3]]
model = SentenceTransformer(sys.argv[1], device="cpu", model_kwargs={"torch_dtype": precision})
model.max_seq_length = 512


def embed_many(texts):
    """Embed the texts of one caller."""
    return model.encode(texts, convert_to_numpy=True, show_progress_bar=False)


turn = Lock()  # side by side, each caller would start threads of its own, and all would be slower


def embed_one(text):
    """Embed the text of one caller among many."""
    with turn:
        return embed_many([text])


with ThreadPoolExecutor(NUM_CLIENTS) as clients:
    serve_rows(embed_many, lambda texts: list(clients.map(embed_one, texts)))
