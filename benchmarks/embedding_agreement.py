"""How near are the vectors to those of sentence-transformers? `python -m benchmarks.embedding_agreement`

The 200 texts of the acceptance tests, from one character to as long as the default model reads, in many languages: all
of them together, and each alone, in f32 and in bf16 (the default). The figures are cosines of the two vectors that
differ most. sentence-transformers computes each text alone in 32 bits; its own batches stand beside it for comparison.
"""

import asyncio
import json
import subprocess
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.embeddings import ENGINES, ENVIRONMENTS
from benchmarks.environment import peer_python
from openhearth.engine.embedding.config import EmbeddingConfig, EmbeddingDtype
from openhearth.engine.registry import load_embedding_engine
from openhearth.settings import DEFAULT_EMBEDDING_MODEL, load_settings
from tests.texts import all_kinds_of_texts

Vectors = NDArray[np.float32]


def main() -> None:
    """Compare, and print JSON on the last line."""
    model, texts = load_settings().models / DEFAULT_EMBEDDING_MODEL, all_kinds_of_texts()
    reference = reference_vectors(model, texts)
    figures = {"sentence_transformers": {"together": worst_cosine(reference["together"], reference["alone"])}}
    for dtype in get_args(EmbeddingDtype):
        vectors = asyncio.run(our_vectors(model, texts, dtype))
        figures[dtype] = {kind: worst_cosine(each, reference["alone"]) for kind, each in vectors.items()}
    print(json.dumps({"benchmark": "embedding_agreement", "texts": len(texts), "worst_cosine": figures}))


def reference_vectors(model: Path, texts: list[str]) -> dict[str, Vectors]:
    """Return what sentence-transformers makes of the texts, `[texts, dimensions]`."""
    python = peer_python("embeddings-torch", ENVIRONMENTS["torch"])
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "texts.json", Path(folder) / "vectors.npz"
        given.write_text(json.dumps(texts))
        subprocess.run([python, ENGINES / "sentence_transformers_vectors.py", model, given, found], check=True)
        with np.load(found) as file:
            return dict(file)


async def our_vectors(model: Path, texts: list[str], dtype: EmbeddingDtype) -> dict[str, Vectors]:
    """Return what openhearth makes of the texts, `[texts, dimensions]`."""
    engine = load_embedding_engine(model, EmbeddingConfig(dtype=dtype))
    inputs = await engine.encode(texts)
    together = await engine.embed(inputs)
    alone = np.concatenate([await engine.embed([token_ids]) for token_ids in inputs])
    await engine.close()
    return {"together": together, "alone": alone}


def worst_cosine(vectors: Vectors, expected: Vectors) -> float:
    """Return the cosine of the two vectors that differ most."""
    return round(float((vectors.astype(np.float64) * expected).sum(axis=1).min()), 8)


if __name__ == "__main__":
    main()
