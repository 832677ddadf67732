"""What does the server cost around diffusers? `python -m benchmarks.images --help`

The real server draws with a pipeline of random weights, shaped like Stable Diffusion 1.x but small: 256 pixels squared,
18 million parameters in the UNet. In turns with it a plain program draws with the same pipeline, the same seeds and the
same number of steps, by a bare call to diffusers. What the server adds is HTTP, the queue, the pipe to the process that
draws, PNG and base64. While it draws, another client asks for `/v1/models` again and again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI

from openhearth.app import serve
from openhearth.engine.fake.embedding import FakeEmbeddingEngine
from openhearth.engine.fake.engine import FakeTextEngine
from openhearth.engine.image.config import ImageEngineConfig
from openhearth.engine.registry import load_image_engine
from openhearth.home import owned_home
from openhearth.services.model_host import Loaders
from openhearth.settings import load_settings

MODEL = "bench"
PORT = 18_321
PROMPT = "a red apple on a wooden table"
PAUSE_SECONDS = 0.01


def main() -> int:
    """Measure, and print what was found; or be one of the programs that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="how many images are asked for at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--role", choices=["server", "bare", "build"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    match arguments.role:
        case "server":
            return be_server(arguments.threads)
        case "bare":
            return be_bare(arguments.folder, arguments.threads, arguments.steps)
        case "build":
            return build(arguments.folder)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments)
    print(json.dumps(found))
    return 0


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return images per second of both, their ratios, the latencies of `/v1/models`, and memory in MiB."""
    model = folder / "models" / MODEL
    subprocess.run([*command("build", arguments), "--folder", model], check=True)
    rates: dict[str, list[float]] = defaultdict(list)
    with bare_program(model, arguments) as bare, server(folder, arguments) as process_id:
        client = OpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key="any", max_retries=0)
        for count in (1, arguments.batch):  # once, for what is made at the first request
            draw(client, count, arguments.steps)
            draw_bare(bare, count)
        idle = latencies_during(lambda: time.sleep(3))
        busy: list[float] = []
        for _ in range(arguments.rounds):
            for count in (1, arguments.batch):
                rates[f"bare n={count}"].append(count / draw_bare(bare, count))
                rates[f"openhearth n={count}"].append(count / draw(client, count, arguments.steps))
                busy += latencies_during(partial(draw, client, count, arguments.steps))
        memory = {"server": resident(process_id), "worker": resident(largest_child(process_id))}
    medians = {name: round(statistics.median(values), 3) for name, values in rates.items()}
    return {
        "benchmark": "images",
        "steps": arguments.steps,
        "threads": arguments.threads,
        "images_per_second": medians,
        "ratio_to_bare": {
            str(count): round(medians[f"openhearth n={count}"] / medians[f"bare n={count}"], 3)
            for count in (1, arguments.batch)
        },
        "gain_by_batching": round(medians[f"openhearth n={arguments.batch}"] / medians["openhearth n=1"], 3),
        "models_latency_ms": {"idle": percentiles(idle), "while_drawing": percentiles(busy)},
        "memory_mib": memory,
    }


def draw(client: OpenAI, count: int, steps: int) -> float:
    """Draw through the server; return how long it took."""
    start = time.perf_counter()
    response = client.images.generate(
        prompt=PROMPT, model=MODEL, n=count, extra_body={"seed": 1, "num_inference_steps": steps}
    )
    assert response.data is not None
    assert len(response.data) == count
    return time.perf_counter() - start


def draw_bare(program: subprocess.Popen[str], count: int) -> float:
    """Draw with diffusers alone; return how long it took."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(f"{count}\n")
    program.stdin.flush()
    return float(program.stdout.readline())


def latencies_during(work: Any) -> list[float]:
    """Do some work, asking for the models all the while; return how long each answer took, in milliseconds."""
    done, latencies = threading.Event(), []

    def ask() -> None:
        with httpx2.Client(base_url=f"http://127.0.0.1:{PORT}") as client:
            while not done.is_set():
                start = time.perf_counter()
                client.get("/v1/models").raise_for_status()
                latencies.append((time.perf_counter() - start) * 1000)
                time.sleep(PAUSE_SECONDS)

    asking = threading.Thread(target=ask)
    asking.start()
    work()
    done.set()
    asking.join()
    return latencies


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the middle, the 99th percentile and the highest of some values."""
    return {
        "p50": round(statistics.median(values), 2),
        "p99": round(statistics.quantiles(values, n=100)[98], 2),
        "max": round(max(values), 2),
        "count": len(values),
    }


@contextmanager
def server(folder: Path, arguments: argparse.Namespace) -> Iterator[int]:
    """Run the server for as long as the context lasts; give its process id."""
    environment = os.environ | {
        "OPENHEARTH_HOME": str(folder / "home"),
        "OPENHEARTH_MODELS": str(folder / "models"),
        "OPENHEARTH_PORT": str(PORT),
        "OPENHEARTH_LOG_LEVEL": "error",
        "OPENHEARTH_TEXT_MODEL": "text",
        "OPENHEARTH_EMBEDDING_MODEL": "",
        "OPENHEARTH_IMAGE_MODEL": MODEL,
        "OPENHEARTH_ALIASES": "{}",
    }
    text = folder / "models" / "text"
    text.mkdir(parents=True)
    (text / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (text / "model.safetensors").touch()
    process = subprocess.Popen(command("server", arguments), env=environment, stdout=subprocess.DEVNULL)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{PORT}") as client:
            while not is_healthy(client):
                time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def is_healthy(client: httpx2.Client) -> bool:
    """Whether the server has its model in memory."""
    try:
        return client.get("/health").status_code == 200
    except httpx2.TransportError:
        return False


@contextmanager
def bare_program(model: Path, arguments: argparse.Namespace) -> Iterator[subprocess.Popen[str]]:
    """Run the plain program for as long as the context lasts."""
    with subprocess.Popen(
        [*command("bare", arguments), "--folder", model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def command(role: str, arguments: argparse.Namespace) -> list[str]:
    """Return the command that runs this file in a role."""
    options = ["--threads", str(arguments.threads), "--steps", str(arguments.steps)]
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.images", "--role", role, *options]


def be_server(threads: int) -> int:
    """Serve, with the engine for images and no other."""
    settings = load_settings()
    loaders = Loaders(
        text=lambda _path: FakeTextEngine(),
        embedding=lambda _path: FakeEmbeddingEngine(),
        image=partial(load_image_engine, config=ImageEngineConfig(num_threads=threads)),
    )
    with owned_home(settings.home):
        return serve(settings, loaders=loaders)


def be_bare(folder: Path, threads: int, steps: int) -> int:
    """Draw as many images as each line of the input says, and print how long it took."""
    torch, diffusers = import_module("torch"), import_module("diffusers")
    torch.set_num_threads(threads)
    pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    for line in sys.stdin:
        start = time.perf_counter()
        generators = [torch.Generator("cpu").manual_seed(1 + number) for number in range(int(line))]
        with torch.inference_mode():
            pipeline(PROMPT, num_images_per_prompt=int(line), num_inference_steps=steps, generator=generators)
        print(time.perf_counter() - start, flush=True)
    return 0


def build(folder: Path) -> int:
    """Make the pipeline."""
    torch, diffusers, transformers = (import_module(name) for name in ("torch", "diffusers", "transformers"))
    torch.manual_seed(0)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: token_id for token_id, word in enumerate(words)}
    clip = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
    )
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(32, 64, 64, 64),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
        ),
        text_encoder=transformers.CLIPTextModel(clip),
        tokenizer=transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77),
        unet=diffusers.UNet2DConditionModel(
            sample_size=32,
            layers_per_block=1,
            block_out_channels=(64, 128, 256),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=256,
        ),
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return 0


def resident(process_id: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{process_id}/status").read_text()
    kibibytes = next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]
    return round(int(kibibytes) / 1024, 1)


def largest_child(process_id: int) -> int:
    """Return the process that draws: of the server's children the one with the most memory."""
    children = Path(f"/proc/{process_id}/task").glob("*/children")
    return max((int(child) for file in children for child in file.read_text().split()), key=resident)


if __name__ == "__main__":
    sys.exit(main())
