"""`openhearth serve` over the engines without weights: `python -m tests.acceptance.serve_fake STEP_SECONDS`.

Settings come from the environment, as they do for the command. A negative time stands for a model that is broken.
"""

import sys
from functools import partial
from pathlib import Path

from openhearth.app import serve
from openhearth.engine.base import TextEngine
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.registry import load_image_engine
from openhearth.errors import ConfigurationError, ModelLoadError
from openhearth.logs import configure_logging
from openhearth.services.model_host import Loaders
from openhearth.settings import load_settings


def load(_path: Path) -> TextEngine:
    """Make the engine."""
    step_seconds = float(sys.argv[1])
    if step_seconds < 0:
        raise ModelLoadError("The weights are broken.")
    return FakeTextEngine(max_num_seqs=8, max_waiting_requests=32, step_seconds=step_seconds)


if __name__ == "__main__":
    configure_logging("warning", "json")
    image = partial(load_image_engine, config=ImageEngineConfig(num_threads=1))
    loaders = Loaders(text=load, embedding=lambda _path: FakeEmbeddingEngine(), image=image)
    try:
        sys.exit(serve(load_settings(), loaders=loaders))
    except (ConfigurationError, ModelLoadError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
