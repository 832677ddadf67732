"""Blocks are given out once, shared by reference and found again by content."""

import pytest

from openhearth.engine.text.block_manager import BlockManager, NoFreeBlocksError, hash_block


def build_manager(*, num_blocks: int = 8, enable_prefix_caching: bool = True) -> BlockManager:
    """Return a manager of small blocks."""
    return BlockManager(num_blocks=num_blocks, block_size=4, enable_prefix_caching=enable_prefix_caching)


def hashes(tokens: list[int], *, salt: bytes = b"") -> list[bytes]:
    """Return the hashes of all full blocks of `tokens`."""
    chain = [salt]
    for begin in range(0, len(tokens) // 4 * 4, 4):
        chain.append(hash_block(chain[-1], tokens[begin : begin + 4]))
    return chain[1:]


def fill(manager: BlockManager, tokens: list[int], *, salt: bytes = b"") -> list[int]:
    """Allocate blocks for `tokens` and register the full ones."""
    blocks = manager.allocate(manager.num_blocks_for(len(tokens)))
    for block, block_hash in zip(blocks, hashes(tokens, salt=salt), strict=False):
        manager.register(block, block_hash)
    return blocks


def test_allocation_is_all_or_nothing() -> None:
    """Asking for more than is free raises and takes nothing."""
    manager = build_manager(num_blocks=3)
    manager.allocate(2)

    with pytest.raises(NoFreeBlocksError):
        manager.allocate(2)

    assert manager.num_free_blocks == 1
    assert manager.usage == pytest.approx(2 / 3)


def test_shared_blocks_are_freed_last() -> None:
    """A block stays taken until every holder has freed it."""
    manager = build_manager()
    blocks = manager.allocate(2)
    manager.share(blocks)

    manager.free(blocks)
    taken = manager.num_free_blocks
    manager.free(blocks)

    assert (taken, manager.num_free_blocks) == (6, 8)


def test_prefix_is_found_while_held_and_after() -> None:
    """Full blocks are shared with a prompt that begins alike, even after their first holder is gone."""
    manager = build_manager()
    blocks = fill(manager, [1, 2, 3, 4, 5, 6, 7, 8, 9])

    held = manager.match_prefix(hashes([1, 2, 3, 4, 5, 6, 7, 8, 100]))
    manager.free(held)
    manager.free(blocks)
    freed = manager.match_prefix(hashes([1, 2, 3, 4, 100, 101]))

    assert (held, freed) == (blocks[:2], blocks[:1])
    assert manager.num_free_blocks == 7


def test_salt_separates() -> None:
    """The same tokens under another salt are another prefix."""
    manager = build_manager()
    fill(manager, [1, 2, 3, 4], salt=b"adapter")

    assert manager.match_prefix(hashes([1, 2, 3, 4, 5])) == []
    assert len(manager.match_prefix(hashes([1, 2, 3, 4, 5], salt=b"adapter"))) == 1


def test_reused_block_forgets_its_content() -> None:
    """Once a free block is given out again, nobody finds what it held; empty blocks go first."""
    manager = build_manager(num_blocks=3)
    manager.free(fill(manager, [1, 2, 3, 4]))

    first_two = manager.allocate(2)
    still_there = manager.match_prefix(hashes([1, 2, 3, 4, 5]))
    manager.free(still_there)
    manager.allocate(1)

    assert len(first_two) == 2
    assert len(still_there) == 1
    assert manager.match_prefix(hashes([1, 2, 3, 4, 5])) == []


def test_caching_can_be_switched_off() -> None:
    """Without prefix caching nothing is ever found."""
    manager = build_manager(enable_prefix_caching=False)
    fill(manager, [1, 2, 3, 4])

    assert manager.match_prefix(hashes([1, 2, 3, 4, 5])) == []
