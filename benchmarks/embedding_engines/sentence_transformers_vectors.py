"""The vectors of sentence-transformers: a model, a JSON file of texts, and where to write them (`.npz`)."""

import json
import sys

import numpy as np
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu")
model.max_seq_length = 512
with open(sys.argv[2], encoding="utf-8") as file:
    texts = json.load(file)


def embed(texts):
    """Return vectors of length 1."""
    return model.encode(texts, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False)


np.savez(sys.argv[3], together=embed(texts), alone=np.concatenate([embed([text]) for text in texts]))
