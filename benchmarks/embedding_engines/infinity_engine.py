"""infinity, the engine below its server: its own dynamic batching does the rest."""

import asyncio
import sys

from harness import NUM_CLIENTS, serve_rows
from infinity_emb import AsyncEmbeddingEngine, EngineArgs

loop = asyncio.new_event_loop()
engine = AsyncEmbeddingEngine.from_args(
    EngineArgs(model_name_or_path=sys.argv[1], engine="torch", device="cpu", bettertransformer=False, compile=False)
)
loop.run_until_complete(engine.astart())


async def _at_once(texts):
    places = asyncio.Semaphore(NUM_CLIENTS)

    async def embed(text):
        async with places:
            return await engine.embed(sentences=[text])

    return await asyncio.gather(*map(embed, texts))


serve_rows(
    lambda texts: loop.run_until_complete(engine.embed(sentences=list(texts))),
    lambda texts: loop.run_until_complete(_at_once(texts)),
)
loop.run_until_complete(engine.astop())
