"""The default embedding model against the reference implementation; weights come from `openhearth pull`."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from openhearth.engine.base import EmbeddingEngine
from openhearth.engine.embedding.config import EmbeddingConfig
from openhearth.engine.registry import load_embedding_engine
from openhearth.settings import DEFAULT_EMBEDDING_MODEL, load_settings

SENTENCES = [
    "The kettle is on the stove, and nobody is in the kitchen.",
    "Der Zug nach Basel fährt heute zwanzig Minuten später ab.",
    "La lumière du matin entre par la fenêtre ouverte.",
    "El perro duerme debajo de la mesa desde hace horas.",
    "Il pane è ancora caldo, prendine un pezzo.",
    "O barco chegou ao porto antes da tempestade.",
    "De fiets staat tegen de muur van het oude huis.",
    "Śnieg padał całą noc i rano drogi były białe.",
    "Na stole leží kniha, kterou nikdo nečetl.",
    "Снег шёл всю ночь, а утром выглянуло солнце.",
    "Το καλοκαίρι τελείωσε και η θάλασσα ηρέμησε.",
    "Çay demlendi, bardaklar masada duruyor.",
    "القطار يصل إلى المحطة عند الظهر.",
    "הספר מונח על המדף ליד החלון.",
    "बारिश के बाद आसमान साफ़ हो गया।",
    "বইটি টেবিলের উপর রাখা আছে।",
    "ฝนหยุดตกแล้วและท้องฟ้าก็แจ่มใส",
    "Con mèo ngủ trên ghế suốt buổi chiều.",
    "今天早上的空气很清新。",
    "電車は五分遅れて駅に着いた。",
    "창문을 열자 시원한 바람이 들어왔다.",
    "Kissa istuu ikkunalla ja katselee lintuja.",
    "def area(radius): return 3.14159 * radius ** 2",
    "42 + 58 = 100; 7 × 8 = 56; √2 ≈ 1.41421",
    "🙂 👩‍🚀 🇨🇭 — “quotes”, naïve façade, e\u0301, \u200b, \t tabs\nand lines",
]


def all_kinds_of_texts() -> list[str]:
    """Return 200 texts in many languages, from one character to as long as the model reads."""
    rng = random.Random(0)
    mixed = [" ".join(rng.choices(SENTENCES, k=rng.randint(2, 6))) for _ in range(145)]
    long = ["word " * 510, "word " * 509, *(" ".join(rng.choices(SENTENCES[:8], k=25)) for _ in range(8))]
    parts = [sentence[: rng.randint(1, 12)] for sentence in SENTENCES[:20]]
    return [*SENTENCES, *parts, *mixed, *long]


@pytest.fixture(scope="module")
def model() -> Path:
    """Return the directory of the default model."""
    return load_settings().models / DEFAULT_EMBEDDING_MODEL


@pytest.fixture(scope="module")
def expected(model: Path) -> NDArray[np.float32]:
    """Return the vectors of all texts by transformers: each computed alone, the mean over its tokens, at length 1."""
    tokenizer, reference = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    vectors = []
    with torch.no_grad():
        for text in all_kinds_of_texts():
            mean = reference(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
            vectors.append((mean / mean.norm()).numpy())
    return np.stack(vectors)


async def load(model: Path, config: EmbeddingConfig) -> AsyncIterator[EmbeddingEngine]:
    """Give an engine, and close it in the end."""
    engine = load_embedding_engine(model, config)
    yield engine
    await engine.close()


@pytest.fixture
async def exact(model: Path) -> AsyncIterator[EmbeddingEngine]:
    """Give the engine that computes in 32 bits."""
    async for engine in load(model, EmbeddingConfig(dtype="f32")):
        yield engine


@pytest.fixture
async def fast(model: Path) -> AsyncIterator[EmbeddingEngine]:
    """Give the engine as it is by default."""
    async for engine in load(model, EmbeddingConfig()):
        yield engine


def worst_cosine(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the cosine of the two vectors that differ most."""
    return float((vectors * expected).sum(axis=1).min())


async def test_together(exact: EmbeddingEngine, expected: NDArray[np.float32]) -> None:
    """200 texts in one request have the reference's vectors."""
    texts = all_kinds_of_texts()

    vectors = await exact.embed(await exact.encode(texts))

    assert len(texts) == 200
    assert worst_cosine(vectors, expected) > 0.99999


async def test_alone(exact: EmbeddingEngine, expected: NDArray[np.float32]) -> None:
    """So do they when each is a request of its own."""
    inputs = await exact.encode(all_kinds_of_texts())

    vectors = np.concatenate([await exact.embed([token_ids]) for token_ids in inputs])

    assert worst_cosine(vectors, expected) > 0.99999


async def test_lengths(exact: EmbeddingEngine) -> None:
    """The texts are as short and as long as the model allows."""
    lengths = [len(token_ids) for token_ids in await exact.encode(all_kinds_of_texts())]

    assert min(lengths) == 3
    assert max(lengths) == exact.spec.max_model_len == 512


async def test_by_default(fast: EmbeddingEngine, expected: NDArray[np.float32]) -> None:
    """In the precision of the default, no vector turns by two degrees."""
    vectors = await fast.embed(await fast.encode(all_kinds_of_texts()))

    assert worst_cosine(vectors, expected) > np.cos(np.deg2rad(2))


async def test_meaning(fast: EmbeddingEngine) -> None:
    """A paraphrase is nearer than a sentence about something else."""
    texts = ["A man is playing a guitar.", "Someone plays guitar.", "The stock market fell on Monday."]

    first, paraphrase, other = await fast.embed(await fast.encode(texts))

    assert first @ paraphrase > 0.8 > 0.3 > first @ other
