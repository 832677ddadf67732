"""How long does the embedded image model take? `python -m benchmarks.clipart --help`

The official client asks a server with the default settings for one picture after the other, as a person would. The
first one is counted by itself, because the model is loaded for it.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from openai import OpenAI

from benchmarks.tuning_home import Home

PROMPTS = ("a red apple on a green meadow", "a blue car on a street", "two ducks on a lake", "an owl at night")
SIZES = {"256x256": "dall-e-2", "1024x1024": "dall-e-2", "1792x1024": "dall-e-3"}


def main() -> int:
    """Measure, and print what was found as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder, Home(Path(folder), has_worker=False).serving() as (_, client):
        print(json.dumps(measure(client, arguments.rounds)))
    return 0


def measure(client: OpenAI, rounds: int) -> dict[str, float]:
    """Return seconds: of the first picture, and the median and the worst of each size."""
    found = {"first_picture": round(seconds(client, PROMPTS[0], "256x256"), 2)}
    for size in SIZES:
        times = [seconds(client, prompt, size) for _ in range(rounds) for prompt in PROMPTS]
        found |= {f"{size}_median": round(statistics.median(times), 2), f"{size}_worst": round(max(times), 2)}
    return found


def seconds(client: OpenAI, prompt: str, size: str) -> float:
    """Return how long one picture takes, its way over HTTP included."""
    begun = time.perf_counter()
    client.images.generate(model=SIZES[size], prompt=prompt, size=size, response_format="b64_json")  # type: ignore[call-overload]
    return time.perf_counter() - begun


if __name__ == "__main__":
    raise SystemExit(main())
