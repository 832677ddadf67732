"""onnxruntime over an export of the same weights, in batches of 32 sorted by length, as servers over it do."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from harness import NUM_CLIENTS, serve_rows
from tokenizers import Tokenizer
from transformers import AutoModel

BATCH_SIZE = 32
tokenizer = Tokenizer.from_file(f"{sys.argv[1]}/tokenizer.json")
tokenizer.no_truncation()
tokenizer.no_padding()


class Pooled(torch.nn.Module):
    """Hidden states, their mean over what is no padding, at length 1."""

    def __init__(self):
        super().__init__()
        self.model = AutoModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval()

    def forward(self, input_ids, attention_mask):
        """Compute a batch."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def exported():
    """Return the exported model, made when it is first needed."""
    path = Path(__file__).parents[2] / ".cache" / "benchmarks" / "embeddings.onnx"
    if not path.is_file():
        batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=512)
        example = torch.ones((2, 8), dtype=torch.int64)
        axes = {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}}
        program = torch.onnx.export(Pooled(), (example, example), dynamic_shapes=axes, dynamo=True)
        program.save(str(path))
    return path


session = onnxruntime.InferenceSession(str(exported()), providers=["CPUExecutionProvider"])


def embed_many(texts):
    """Embed the texts of one caller."""
    token_ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(texts)), key=lambda number: len(token_ids[number]))
    vectors = [None] * len(texts)
    for start in range(0, len(texts), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        width = max(len(token_ids[number]) for number in chosen)
        ids, mask = np.zeros((2, len(chosen), width), dtype=np.int64)
        for row, number in enumerate(chosen):
            ids[row, : len(token_ids[number])] = token_ids[number]
            mask[row, : len(token_ids[number])] = 1
        (result,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        for number, vector in zip(chosen, result, strict=True):
            vectors[number] = vector
    return vectors


with ThreadPoolExecutor(NUM_CLIENTS) as clients:
    serve_rows(embed_many, lambda texts: list(clients.map(lambda text: embed_many([text]), texts)))
