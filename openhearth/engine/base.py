"""What the services know of an engine: the protocols, and the values that cross them.

Nothing here knows of HTTP, of rows or of a particular implementation. Every engine passes `tests/contract`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openhearth.chat_template import ToolCallFormat

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to continue a prompt; the meaning of every member is that of the OpenAI completions reference.

    `n` is the number of candidates; choosing the best of several is left to the caller, who asks for their
    log-probabilities. `logprobs` is the number of alternatives to report for each generated token (`None`: no
    log-probabilities at all, 0: the sampled token only); `prompt_logprobs` is the same for each prompt token.
    Log-probabilities are of the model's own distribution, before temperature, top_p, penalties and bias.
    `grammar` is an llguidance grammar that the completion has to follow to its end.
    """

    n: int = 1
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    grammar: str | None = None
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class LoRARequest:
    """An adapter to generate with: the name it is known by, and its PEFT directory. Same name, same content."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token and how likely the model thought it, with the most likely alternatives at its place.

    `token` is the surface form; bytes that are not UTF-8 on their own are shown as `bytes:\\xNN`. `logprob` is `None`
    for the first token of a prompt, which nothing precedes; `top_logprobs` is then empty. `top_logprobs` is ordered,
    most likely first, and does not repeat the token itself unless it is among the most likely.
    """

    token: str
    token_id: int
    token_bytes: bytes
    logprob: float | None
    top_logprobs: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOutput:
    """What one candidate gained since its last output.

    `text` never holds a part of a stop sequence, nor bytes that may still become another character. `token_ids` and
    `logprobs` are of the tokens that `text` is made of: a token waits until its text is released, and neither the end
    of text nor what a stop sequence cut off is among them. The last output of a candidate, and only that one, has a
    `finish_reason`. `prompt_logprobs` comes with the first output of candidate 0 when it was asked for, one entry for
    each prompt token. `num_output_tokens` counts all that the request has computed so far, for all its candidates:
    ends of text and tokens cut off by a stop sequence included.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """A reading of the engine's gauges and counters, for metrics and for tests."""

    num_requests_running: int
    num_requests_waiting: int
    kv_cache_usage: float
    prompt_tokens: int
    generation_tokens: int
    num_preemptions: int
    prefix_cache_queries: int
    prefix_cache_hits: int
    spec_decode_draft_tokens: int = 0
    spec_decode_accepted_tokens: int = 0


class TextEngine(Protocol):
    """Continues prompts with a causal language model."""

    @property
    def max_model_len(self) -> int:
        """The most tokens that a prompt and its completion may have together."""
        ...

    @property
    def tool_call_format(self) -> ToolCallFormat:
        """How the model writes the calls of tools."""
        ...

    async def encode(self, text: str, *, suffix: str | None = None) -> list[int]:
        """Return the token ids of `text` as a prompt, with the tokens the model wants before one (such as BOS).

        Never empty: the empty text is the start of a document, the token that separates documents if there is no
        other. With `suffix` the prompt is the model's own fill-in-the-middle form of what comes before and after;
        raises `UnsupportedParameterError` for `suffix` if the model has none.
        """
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of `token_ids`, special tokens included; bytes that are not UTF-8 become U+FFFD.

        Raises `BadRequestError`, with `prompt` as its parameter, for a token outside the vocabulary.
        """
        ...

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """Return the prompt that asks for the next message, by the model's own chat template.

        `messages` have a `role`, `content` that is text, and for an assistant that called tools `tool_calls`, whose
        `function` has a `name` and `arguments` as an object; `tools` are as the chat reference has them. Raises
        `NotFoundError`, with `model` as its parameter, if the model has no template, and `BadRequestError`, with
        `messages`, if the template refuses.
        """
        ...

    def generate(
        self, prompt_token_ids: Sequence[int], params: SamplingParams, *, lora: LoRARequest | None = None
    ) -> AsyncGenerator[GenerationOutput]:
        """Continue one prompt, with an adapter or without; outputs of several candidates interleave by `index`.

        Closing the iterator frees everything the request holds. Raises `BadRequestError`, with `prompt` or
        `logit_bias` as its parameter, for a token outside the vocabulary, `ContextLengthExceededError` if prompt and
        completion do not fit, and `RateLimitError` if the queue is full; all of them before the first output.
        """
        ...

    async def prepare_lora(self, target_modules: str) -> None:
        """Get ready for adapters of these modules, as PEFT names them, so that nobody waits when the first is used.

        `all-linear`, or names separated by commas. Adapters can be used without; some engines have nothing to do.
        """
        ...

    async def unload_idle_loras(self, idle_seconds: float) -> None:
        """Free the memory of adapters that no request has used in so long; they are read again when they are used."""
        ...

    def stats(self) -> EngineStats:
        """Return a reading of the gauges and counters; cheap, and safe from any thread."""
        ...

    async def close(self) -> None:
        """Stop computing and free the memory; running requests end with an error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingStats:
    """A reading of the engine's gauges and counters; requests are counted until their last vector is there."""

    num_requests_running: int
    num_requests_waiting: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpec:
    """What an embedding model is: the size of its vectors, the most tokens of one input, and its vocabulary.

    `is_matryoshka` says whether the model's own files declare that a prefix of its vectors is a vector, too
    (https://arxiv.org/abs/2205.13147).
    """

    dimensions: int
    max_model_len: int
    vocab_size: int
    is_matryoshka: bool = False


class EmbeddingEngine(Protocol):
    """Turns token ids into vectors of length 1."""

    @property
    def spec(self) -> EmbeddingSpec:
        """What the model is."""
        ...

    async def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with the tokens the model wants around one (such as CLS and SEP).

        Raises `RateLimitError` if the queue is full: what could not be computed need not be read either.
        """
        ...

    async def embed(self, inputs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return one vector for each input, `[len(inputs), dimensions]`, in their order.

        Nothing more is computed for a caller that is cancelled. Raises `BadRequestError`, with `input` as its
        parameter, for an input without tokens or with one outside the vocabulary, `ContextLengthExceededError` for
        one that is too long, and `RateLimitError` if the queue is full.
        """
        ...

    def stats(self) -> EmbeddingStats:
        """Return a reading of the gauges and counters; cheap, and safe from any thread."""
        ...

    async def close(self) -> None:
        """Stop computing and free the memory; running requests end with an error."""
        ...


ImageFormat = Literal["png", "jpeg", "webp"]
ImageQuality = Literal["low", "medium", "high"]
ImageBackground = Literal["auto", "opaque", "transparent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageModelInfo:
    """What an image model can do. `native_size` is the edge in pixels of the square it was made for."""

    native_size: int
    can_generate: bool
    can_edit: bool
    has_transparency: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInfo:
    """A picture that was sent: its size in pixels, whether it has an alpha channel, and whether any of it is clear."""

    format: ImageFormat
    width: int
    height: int
    has_alpha: bool
    has_transparent_pixels: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParams:
    """One request for images: one image for each of `seeds`.

    With `images` the first of them is changed, the others are shown beside it; where `mask` has alpha 0, it is open to
    change. `strength`, from 0 to 1, says how far a picture that is changed as a whole may move away from what it was.
    `size` is width and height in pixels; `None` is that of the first of `images`, or the model's own.
    """

    prompt: str
    seeds: tuple[int, ...]
    size: tuple[int, int] | None = None
    images: tuple[Path, ...] = ()
    mask: Path | None = None
    strength: float = 0.75
    quality: ImageQuality = "medium"
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    num_partial_images: int = 0
    background: ImageBackground = "auto"
    output_format: ImageFormat = "png"
    output_compression: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """What one image took: tokens of the prompt, and 16x16 blocks of the pictures that were shown and drawn."""

    num_text_tokens: int
    num_input_blocks: int
    num_output_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutput:
    """An image in its file format; a preview has `partial_index`, counted from 0, and no usage."""

    index: int
    data: bytes
    width: int
    height: int
    is_transparent: bool
    partial_index: int | None = None
    usage: ImageUsage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEngineStats:
    """A reading of an image engine's gauges and counters; `num_steps` is of denoising, one for a whole batch."""

    num_requests_running: int
    num_requests_waiting: int
    num_steps: int


class ImageEngine(Protocol):
    """Draws images from words, and changes pictures."""

    @property
    def info(self) -> ImageModelInfo:
        """What the model can do."""
        ...

    async def inspect(self, picture: Path) -> PictureInfo:
        """Decode a picture to its last pixel, and say what it is.

        Raises `BadRequestError` if it is not a PNG, JPEG or WebP picture, is broken, or is larger than can be decoded
        in bounded memory.
        """
        ...

    def generate(self, params: ImageParams) -> AsyncGenerator[ImageOutput]:
        """Draw all images of one request; each ends with an output that is no preview.

        Closing the iterator ends the work at the next step. Raises `RateLimitError` if the queue is full, and
        `BadRequestError` for what the model cannot do; all of them before the first output.
        """
        ...

    def stats(self) -> ImageEngineStats:
        """Return a reading of the gauges and counters; cheap, and safe from any thread."""
        ...

    async def close(self) -> None:
        """Stop drawing and free the memory; running requests end with an error."""
        ...
