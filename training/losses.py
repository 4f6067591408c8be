"""What the student is drawn to: the teacher's embedding, its speaker posteriors, its frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

HOP_S = 0.08


def embedding_loss(prefixes: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of 1 - cos between running embeddings (batch, prefixes, d) and targets (batch, d).

    The target is the teacher's answer to the *whole* clip: early embeddings are drawn to what
    will be known later (prefix distillation). ``weights`` (prefixes,) as :func:`prefix_weights`.
    """
    return weighted(1.0 - (prefixes * targets[:, None]).sum(dim=2), weights)


def posterior_loss(
    prefixes: Tensor, targets: Tensor, bank: Tensor, scale: float, weights: Tensor | None = None
) -> Tensor:
    """KL from the teacher's speaker posterior to the student's, over a bank of speakers.

    p(k | z) = softmax_k(scale cos(z, bank_k)) for both; ``prefixes`` (batch, prefixes, d),
    ``targets`` (batch, d), ``bank`` (speakers, d), all of unit length. Soft posteriors say which
    strangers a voice resembles, which a cosine alone does not.
    """
    wanted = F.log_softmax(scale * targets @ bank.t(), dim=1)[:, None]
    given = F.log_softmax(scale * prefixes @ bank.t(), dim=2)
    return weighted((wanted.exp() * (wanted - given)).sum(dim=2), weights)


def draw_prefixes(hops: int, count: int, first: int, generator: torch.Generator) -> Tensor:
    """``count`` hop indices: the last one, and others drawn evenly in the logarithm of time."""
    low, high = torch.log(torch.tensor([float(first), float(hops)]))
    drawn = torch.exp(low + (high - low) * torch.rand(count - 1, generator=generator)).long()
    return torch.cat([drawn.clamp(max=hops - 1), torch.tensor([hops - 1])])


def prefixes_after(points_s: Sequence[float], hops: int) -> Tensor:
    """The hop indices after so many seconds, those within ``hops`` hops of 80 ms, and the last."""
    reached = {round(seconds / HOP_S) - 1 for seconds in points_s}
    return torch.tensor(sorted({hop for hop in reached if hop < hops} | {hops - 1}))


def prefix_weights(prefixes: Tensor, hops: int, emphasis: float) -> Tensor | None:
    """The weight of each hop index (prefixes,): (length / crop)^emphasis, their mean 1.

    ``None``, all alike, for an ``emphasis`` of 0.
    """
    if emphasis == 0:
        return None
    raw = ((prefixes + 1).float() / hops).pow(emphasis)
    return raw / raw.mean()


def weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of (batch, prefixes), the prefixes weighted."""
    return values.mean() if weights is None else (values * weights.to(values.device)).mean()


def distillation_factor(schedule: str, final: float, progress: float) -> float:
    """What the losses against the teacher are multiplied by at ``progress`` in [0, 1].

    ``constant`` 1; ``linear`` and ``cosine`` go from 1 to ``final``.
    """
    share = {
        "constant": 0.0,
        "linear": progress,
        "cosine": 0.5 - 0.5 * math.cos(math.pi * progress),
    }[schedule]
    return 1.0 + (final - 1.0) * share
