"""What `auto` comes to."""

import pytest

from openhearth.services.hyperparameters import numbers, resolve


@pytest.mark.parametrize(
    ("num_examples", "n_epochs", "batch_size"),
    [
        (10, 10, 1),
        (11, 9, 1),
        (33, 3, 1),
        (34, 3, 1),
        (500, 3, 1),
        (501, 3, 2),
        (8_333, 3, 17),
        (8_334, 2, 17),
        (25_001, 1, 51),
        (1_000_000, 1, 256),
    ],
)
def test_auto(num_examples: int, n_epochs: int, batch_size: int) -> None:
    """A hundred examples are shown at least, 25,000 are enough; a batch has one for every five hundred."""
    names = ("n_epochs", "batch_size", "learning_rate_multiplier", "beta")
    method = {"type": "dpo", "dpo": {"hyperparameters": dict.fromkeys(names, "auto")}}

    found = numbers(resolve(method, num_examples=num_examples))

    assert (found.n_epochs, found.batch_size) == (n_epochs, batch_size)
    assert (found.learning_rate_multiplier, found.beta) == (1.0, 0.1)


def test_numbers_stay() -> None:
    """What was asked for is not changed."""
    chosen = {"n_epochs": 7, "batch_size": 3, "learning_rate_multiplier": 0.5}

    resolved = resolve({"type": "supervised", "supervised": {"hyperparameters": chosen}}, num_examples=10)

    assert resolved["supervised"]["hyperparameters"] == chosen
