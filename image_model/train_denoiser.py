"""Train the network that draws: `python -m image_model.train_denoiser --variant retrieval --minutes 120`.

Call it again to go on. The last sitting wants `--finish`: over it the learning rate falls to nothing.
Nothing else should run meanwhile; two threads that wait for each other take three times as long.
"""

import argparse
import copy
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from image_model.data import SceneBatch, SceneStream, batches, planes
from image_model.paths import DECODER, DENOISER
from image_model.runs import Run
from image_model.text import encoder
from openhearth.engine.image.retrieval.patch_vae import PatchVAE
from openhearth.engine.image.retrieval.references import colours_of, reference
from openhearth.engine.image.retrieval.unet import Reference, RetrievalUNet

Variant = Literal["retrieval", "text"]

BATCH = 32
CHANNELS = (96, 160, 256)
_LEARNING_RATE = 6e-4
_WARM_UP_STEPS = 100
_EMA_DECAY = 0.999
_COPIES = 0.04
_BLUR = 0.2
_LEAST_NOISE = 0.1
"""Below this level of noise the loss no longer counts errors of the picture more, however small the noise is."""
_DROP_ALL, _DROP_TEXT, _DROP_REFERENCE = 0.06, 0.04, 0.02


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the network is told about a batch: token states, and the reference of the variant that has one."""

    states: Any
    reference: Reference | None


def main() -> None:
    """Train for one sitting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=("retrieval", "text"), default="retrieval")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--finish", action="store_true", help="let the learning rate fall to nothing")
    parser.add_argument("--bf16", action="store_true", help="multiply in bfloat16, where the processor can")
    parser.add_argument("--channels", type=int, nargs=3, default=CHANNELS)
    parser.add_argument("--sprites", type=int, help="learn only the first so many, to see whether it learns at all")
    parser.add_argument("--folder", type=Path, help="where to keep the training; each variant has its own")
    arguments = parser.parse_args()
    run = Run(arguments.folder or DENOISER / arguments.variant, arguments.minutes)
    Training(run, arguments.variant, tuple(arguments.channels), is_bf16=arguments.bf16).go(
        arguments.sprites, finish=arguments.finish
    )


class Training:
    """The network, its moving average and its optimiser; the average is what will be served."""

    def __init__(self, run: Run, variant: Variant, channels: tuple[int, ...], *, is_bf16: bool) -> None:
        self._run = run
        self._variant = variant
        self._vae = PatchVAE.from_pretrained(DECODER / "vae").eval().requires_grad_(False)
        self._unet = RetrievalUNet(block_out_channels=channels)
        self._visible = _visible(self._vae)
        self._average = copy.deepcopy(self._unet).eval().requires_grad_(False)
        self._step = self._resume(run.resume())
        self._optimizer = torch.optim.AdamW(
            self._unet.parameters(), _LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self._is_bf16 = is_bf16

    def go(self, concepts: int | None, *, finish: bool) -> None:
        """Train until the sitting is over, then write the average."""
        stream = batches(SceneStream("train", 1000 + self._step, concepts=concepts, copies=_COPIES), BATCH)
        first, losses = self._step, deque[float](maxlen=100)
        for step in self._run.steps(first, self._state):
            self._step = step
            self._set_learning_rate(step - first, finish=finish)
            losses.append(self._learn(next(stream)))
            if (step + 1) % 50 == 0:
                rate = (step + 1 - first) * BATCH / self._run.seconds()
                self._run.log(step=step + 1, loss=sum(losses) / len(losses), samples_per_second=round(rate, 2))
        self._average.save_pretrained(self._run.folder / "unet")
        self._run.log(step=self._step + 1, finished=float(finish))

    def _learn(self, batch: SceneBatch) -> float:
        loss = self._loss(self._vae.encode_planes(planes(batch.targets)), self._conditions(batch))
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._unet.parameters(), 1.0)
        self._optimizer.step()
        self._follow()
        return float(loss.item())

    def _loss(self, codes: Any, conditions: Conditions) -> Any:
        """Return the squared error of the flow (Lipman et al. 2023, straight paths), by what it does to the pixels."""
        sigma = torch.sigmoid(torch.randn(len(codes)) + 0.2)
        level = sigma.reshape(-1, 1, 1, 1)
        noise = torch.randn_like(codes)
        with self._precision():
            flow = self._unet(
                (1 - level) * codes + level * noise,
                sigma * 1000,
                conditions.states,
                cross_attention_kwargs={"reference": conditions.reference},
                return_dict=False,
            )[0]
        weight = self._visible * (level / level.clamp(min=_LEAST_NOISE)).square()
        return (weight * (flow.float() - noise + codes).square()).mean()

    def _conditions(self, batch: SceneBatch) -> Conditions:
        with torch.no_grad(), self._precision():
            states = encoder().states(batch.captions).float()
        return _dropped(Conditions(states, self._reference(batch)))

    def _reference(self, batch: SceneBatch) -> Reference | None:
        if self._variant == "text":
            return None
        words = encoder()
        colours = _blurred(colours_of(words, batch.colours))
        background = _blurred(words.phrases(batch.backgrounds))
        return reference(self._vae, planes(batch.canvases), batch.covers, colours, background)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self._is_bf16 else nullcontext()

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(_EMA_DECAY, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(list(self._average.parameters()), list(self._unet.parameters()), 1 - decay)

    def _set_learning_rate(self, steps: int, *, finish: bool) -> None:
        left = 1 - self._run.part_done() if finish else 1.0
        for group in self._optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, (steps + 1) / _WARM_UP_STEPS) * max(left, 0.0)

    def _state(self, step: int) -> dict[str, Any]:
        """Return both sets of weights in half precision; the optimiser warms up anew."""
        weights = {"model": self._unet, "average": self._average}
        halves = {name: {key: value.half() for key, value in net.state_dict().items()} for name, net in weights.items()}
        return {**halves, "step": step}

    def _resume(self, state: dict[str, Any] | None) -> int:
        if state is None:
            return 0
        self._unet.load_state_dict(state["model"])
        self._average.load_state_dict(state["average"])
        return int(state["step"])


def _visible(vae: PatchVAE) -> Any:
    """Return [C, 1, 1]: how much an error in each number of the code changes the pixels, 1 in the mean."""
    energy = vae.scale.square()
    return (energy / energy.mean())[:, None, None]


def _blurred(phrases: Any) -> Any:
    """Return phrases as others of about the same meaning would be; what says nothing stays so."""
    return phrases + _BLUR * torch.randn_like(phrases) * (phrases != 0)


def _dropped(conditions: Conditions) -> Conditions:
    """Forget now and then the text, the reference or both, so that guidance can tell what they change."""
    roll = torch.rand(len(conditions.states))
    no_text = (roll < _DROP_ALL + _DROP_TEXT).nonzero().flatten()
    no_reference = ((roll < _DROP_ALL) | (roll > 1 - _DROP_REFERENCE)).nonzero().flatten()
    conditions.states[no_text] = 0
    for values in _tensors(conditions.reference):
        values[no_reference] = 0
    return conditions


def _tensors(shown: Reference | None) -> Iterator[Any]:
    return iter(()) if shown is None else (getattr(shown, name) for name in Reference.__slots__)


if __name__ == "__main__":
    main()
