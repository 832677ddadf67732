"""One generation in the engine: its tokens, its cache blocks and how far it has come."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from openhearth.engine.base import SamplingParams
from openhearth.engine.text.block_manager import hash_block
from openhearth.engine.text.drafts import NgramProposer
from openhearth.engine.text.lora import LoRAAdapter


class SequenceStatus(Enum):
    """Where a sequence is; the names are vLLM's."""

    WAITING = auto()
    RUNNING = auto()
    PREEMPTED = auto()
    FINISHED = auto()


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt and what was generated for it; candidate `index` of request `request_id`.

    `num_computed_tokens` counts the leading tokens whose keys and values are in the cache; a sequence decodes when
    only its last token is missing. `num_candidates` is above 1 only on candidate 0 until its prompt is computed: then
    the others are forked off it.
    """

    request_id: int
    index: int
    prompt_token_ids: list[int]
    params: SamplingParams
    num_candidates: int = 1
    adapter: LoRAAdapter | None = None
    status: SequenceStatus = SequenceStatus.WAITING
    output_token_ids: list[int] = field(default_factory=list)
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    num_registered_blocks: int = 0
    proposer: NgramProposer = field(default_factory=NgramProposer)

    def hashes_of_full_blocks(self, block_size: int, count: int) -> list[bytes]:
        """Return the hashes of the first `count` blocks, which the sequence has tokens for."""
        for number in range(len(self.block_hashes), count):
            previous = self.block_hashes[-1] if self.block_hashes else self.cache_salt
            self.block_hashes.append(hash_block(previous, self.tokens(number * block_size, (number + 1) * block_size)))
        return self.block_hashes[:count]

    @property
    def cache_salt(self) -> bytes:
        """What keeps the blocks of one adapter apart from the base model's and from another adapter's."""
        return b"" if self.adapter is None else self.adapter.cache_salt

    @property
    def num_tokens(self) -> int:
        """Prompt and output tokens together."""
        return len(self.prompt_token_ids) + len(self.output_token_ids)

    @property
    def num_missing_tokens(self) -> int:
        """Tokens whose keys and values are not in the cache yet."""
        return self.num_tokens - self.num_computed_tokens

    @property
    def is_decoding(self) -> bool:
        """Whether only the token generated last is missing."""
        return self.num_missing_tokens == 1 and bool(self.output_token_ids)

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether every prompt token still has to be scored, which the prefix cache cannot do."""
        return self.params.prompt_logprobs is not None and self.index == 0 and not self.output_token_ids

    def tokens(self, start: int, stop: int) -> Iterable[int]:
        """Return the tokens from `start` up to `stop`, over prompt and output."""
        num_prompt = len(self.prompt_token_ids)
        if stop <= num_prompt:
            return self.prompt_token_ids[start:stop]
        if start >= num_prompt:
            return self.output_token_ids[start - num_prompt : stop - num_prompt]
        return self.prompt_token_ids[start:] + self.output_token_ids[: stop - num_prompt]

    def propose(self, count: int) -> tuple[int, ...]:
        """Guess up to `count` of the tokens that come next, fewer than are still wanted."""
        count = min(count, self.params.max_tokens - len(self.output_token_ids) - 1)
        if count < 1:
            return ()
        self.proposer.extend(self.tokens(self.proposer.num_tokens, self.num_tokens))
        return self.proposer.propose(count)

    def fork(self, index: int) -> "Sequence":
        """Return candidate `index` of the same prompt, which owns no blocks yet."""
        return Sequence(
            request_id=self.request_id,
            index=index,
            prompt_token_ids=self.prompt_token_ids,
            params=self.params,
            adapter=self.adapter,
            block_hashes=list(self.block_hashes),
            num_cached_tokens=self.num_cached_tokens,
        )
