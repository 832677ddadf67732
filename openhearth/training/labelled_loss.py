"""The loss on the tokens that have a label, and on no others, without ever holding all of their logits.

Each piece of the logits becomes a gradient at once, which is possible because the language-model head is frozen: what a
LoRA trains lies before it. Nothing is computed twice, and nothing for tokens that are only shown.
"""

from typing import Any

import torch
from torch.nn.functional import linear

_MAX_LOGITS = 2**23
"""Logits in one piece; 32 MiB in 32 bits."""


class LabelledLoss(torch.autograd.Function):  # type: ignore[misc]  # the library is untyped
    """`apply(hidden, weight, labels)`: the summed cross-entropy, and how many labels were the likeliest token.

    `hidden` is `[labels, size]`, `weight` that of the frozen head, `[vocabulary, size]`.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        total, num_correct = hidden.new_zeros((), dtype=torch.float32), labels.new_zeros(())
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        size = max(1, _MAX_LOGITS // weight.shape[0])
        for begin in range(0, len(labels), size):
            rows = slice(begin, begin + size)
            logits, wanted = linear(hidden[rows], weight).float(), labels[rows, None]
            num_correct += (logits.argmax(-1, keepdim=True) == wanted).sum()
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += (normaliser - logits.gather(-1, wanted)).sum()
            if gradient is not None:
                gradient[rows] = _gradient(logits, normaliser, wanted).to(weight.dtype) @ weight
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(num_correct)
        return total, num_correct

    @staticmethod
    def backward(ctx: Any, of_total: torch.Tensor, _of_correct: None) -> tuple[torch.Tensor, None, None]:
        """Scale the gradient that is known already."""
        (gradient,) = ctx.saved_tensors
        return gradient * of_total, None, None


def _gradient(logits: torch.Tensor, normaliser: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the cross-entropy, in the memory of the logits: the probabilities, less 1 at the label."""
    probabilities = logits.sub_(normaliser).exp_()
    return probabilities.scatter_add_(-1, wanted, probabilities.new_full(wanted.shape, -1))
