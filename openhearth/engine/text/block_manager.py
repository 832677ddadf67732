"""Who owns which block of the key-value cache, and which blocks hold a prefix that somebody may want again.

Knows block numbers and token ids; leaves the tensors to the model runner and the order of work to the scheduler.
A block is referenced by one or more sequences, or free; a free block keeps its content until it is given out again,
least recently freed first, so that a later prompt with the same beginning finds it (automatic prefix caching as in
vLLM, https://docs.vllm.ai/en/latest/design/prefix_caching.html).
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence


class NoFreeBlocksError(Exception):
    """Fewer blocks are free than were asked for."""


def hash_block(previous: bytes, token_ids: Iterable[int]) -> bytes:
    """Return the 16-byte hash of a full block, given that of the block before it.

    The first block takes what separates sequences whose keys and values differ for the same tokens. A cryptographic
    hash, for a collision would show one caller what belongs to another's prompt.
    """
    return hashlib.blake2b(array("q", token_ids).tobytes(), digest_size=16, key=previous).digest()


class BlockManager:
    """Gives out, shares and takes back the blocks of one cache."""

    def __init__(self, *, num_blocks: int, block_size: int, enable_prefix_caching: bool = True) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._enable_prefix_caching = enable_prefix_caching
        self._num_references = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._block_of_hash: dict[bytes, int] = {}
        self._hash_of_block: dict[int, bytes] = {}

    @property
    def num_free_blocks(self) -> int:
        """Blocks that can be given out, those with reusable content included."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """The share of blocks that sequences hold, 0 to 1."""
        return 1 - len(self._free) / self.num_blocks

    def num_blocks_for(self, num_tokens: int) -> int:
        """Return how many blocks hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)

    def allocate(self, count: int) -> list[int]:
        """Give out `count` blocks; raises `NoFreeBlocksError` and gives none if fewer are free."""
        if count > len(self._free):
            raise NoFreeBlocksError
        return [self._take_oldest() for _ in range(count)]

    def match_prefix(self, block_hashes: Iterable[bytes]) -> list[int]:
        """Share the blocks that hold the longest known beginning of a sequence, given the hashes of its blocks."""
        blocks: list[int] = []
        for block_hash in block_hashes:
            block = self._block_of_hash.get(block_hash)
            if block is None:
                break
            blocks.append(block)
        self.share(blocks)
        return blocks

    def share(self, blocks: Iterable[int]) -> None:
        """Add one reference to each of `blocks`, which are held already or hold content that is still known."""
        for block in blocks:
            self._reference(block)

    def register(self, block: int, block_hash: bytes) -> None:
        """Note that `block` now holds, completely computed, the tokens behind `block_hash`."""
        if self._enable_prefix_caching and block_hash not in self._block_of_hash:
            self._block_of_hash[block_hash] = block
            self._hash_of_block[block] = block_hash

    def free(self, blocks: Sequence[int]) -> None:
        """Drop one reference to each block; the ends of sequences are given out again before their beginnings."""
        for block in reversed(blocks):
            self._num_references[block] -= 1
            if self._num_references[block] == 0:
                self._free[block] = None
                if block not in self._hash_of_block:
                    self._free.move_to_end(block, last=False)

    def _reference(self, block: int) -> None:
        if self._num_references[block] == 0:
            del self._free[block]
        self._num_references[block] += 1

    def _take_oldest(self) -> int:
        block, _ = self._free.popitem(last=False)
        self._num_references[block] = 1
        block_hash = self._hash_of_block.pop(block, None)
        if block_hash is not None:
            del self._block_of_hash[block_hash]
        return block
