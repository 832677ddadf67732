"""Servers one after the other, as fast as they can be killed: `python -m tests.acceptance.serve_forked`.

Imports everything once. For each line on standard input it forks a child, which tells its process id and serves over
the engine without weights; the next line is read when that child has ended.
"""

import os
import sys

from openhearth.app import serve
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.logs import configure_logging
from openhearth.services.model_host import Loaders
from openhearth.settings import load_settings

LOADERS = Loaders(text=lambda _path: FakeTextEngine(), embedding=lambda _path: FakeEmbeddingEngine())

if __name__ == "__main__":
    configure_logging("warning", "json")
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            print(os.getpid(), flush=True)  # noqa: T201 (the parent of all this reads it)
            os._exit(serve(load_settings(), loaders=LOADERS))
        os.waitpid(child, 0)
