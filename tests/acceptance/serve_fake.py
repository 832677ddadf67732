"""`openhearth serve` over the engine without weights: `python -m tests.acceptance.serve_fake STEP_SECONDS`.

Settings come from the environment, as they do for the command. A negative time stands for a model that is broken.
"""

import sys
from pathlib import Path

from openhearth.app import serve
from openhearth.engine.base import TextEngine
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
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
    try:
        sys.exit(serve(load_settings(), loaders=Loaders(text=load, embedding=lambda _path: FakeEmbeddingEngine())))
    except (ConfigurationError, ModelLoadError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
