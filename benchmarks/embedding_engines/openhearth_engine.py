"""openhearth's engine: text in, vectors out. A third argument names the precision."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from harness import NUM_CLIENTS, serve_rows

from openhearth.engine.embedding.config import EmbeddingConfig, EmbeddingDtype
from openhearth.engine.registry import load_embedding_engine

loop = asyncio.new_event_loop()
config = EmbeddingConfig(dtype=cast("EmbeddingDtype", sys.argv[3]))
engine = load_embedding_engine(Path(sys.argv[1]), config)


async def embed_many(texts: Sequence[str]) -> object:
    """Embed the texts of one caller."""
    return await engine.embed(await engine.encode(texts))


async def embed_at_once(texts: Sequence[str]) -> object:
    """Embed each text for a caller of its own."""
    places = asyncio.Semaphore(NUM_CLIENTS)

    async def embed(text: str) -> object:
        async with places:
            return await embed_many([text])

    return await asyncio.gather(*map(embed, texts))


serve_rows(
    lambda texts: loop.run_until_complete(embed_many(texts)),
    lambda texts: loop.run_until_complete(embed_at_once(texts)),
)
loop.run_until_complete(engine.close())
