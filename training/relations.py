"""How voices stand to each other, as the teacher has it: cosines between clips, and posteriors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses import weighted


def relational_loss(
    prefixes: Tensor, targets: Tensor, others: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean squared error between the student's and the teacher's matrices of cosines.

    ``prefixes`` (batch, prefixes, d) and ``targets`` (batch, d) of unit length. Each clip is
    compared with the other clips of the batch (student with student, teacher with teacher; not
    with itself) and with ``others`` (queue, d), the teacher's embeddings of further clips, which
    may be empty; a clip that has nothing to be compared with costs nothing. After Park et al. 2019,
    "Relational Knowledge Distillation", with cosines for distances.
    """
    batch = len(targets)
    apart = ~torch.eye(batch, dtype=torch.bool, device=targets.device)
    given = torch.einsum("ipd,jpd->pij", prefixes, prefixes)
    errors = (given - targets @ targets.t()).square()[:, apart].reshape(given.shape[0], batch, -1)
    if len(others):
        aside = torch.einsum("ipd,qd->piq", prefixes, others) - targets @ others.t()
        errors = torch.cat([errors, aside.square()], dim=2)
    if not errors.shape[2]:
        return prefixes.sum() * 0.0
    return weighted(errors.mean(dim=2).t(), weights)


def decoupled_posterior_loss(
    prefixes: Tensor,
    targets: Tensor,
    bank: Tensor,
    scale: float,
    labels: Tensor,
    non_target_weight: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Posterior distillation with the non-target speakers emphasized.

    The KL divergence of :func:`training.losses.posterior_loss` is the sum of a binary one between
    (target, all others) and, times the teacher's mass on the others, one among the others (Zhao
    et al. 2022, "Decoupled Knowledge Distillation", eq. 5). A teacher that is sure of the target
    silences the second part; here it has the constant weight ``non_target_weight`` instead
    (Emphasized Non-Target Speaker Knowledge, 2024).

    ``labels`` (batch,) are rows of ``bank`` (speakers, d); where one is -1, the teacher's most
    likely speaker stands for it.
    """
    wanted = F.log_softmax(scale * targets @ bank.t(), dim=1)
    given = F.log_softmax(scale * prefixes @ bank.t(), dim=2)
    target = torch.where(labels >= 0, labels, wanted.argmax(dim=1))
    is_target = F.one_hot(target, len(bank)).bool()
    wanted = wanted[:, None].expand_as(given)
    mask = is_target[:, None].expand_as(given)
    binary = _kl(_two_ways(wanted, mask), _two_ways(given, mask))
    far = torch.finfo(given.dtype).min
    among = _kl(
        F.log_softmax(wanted.masked_fill(mask, far), dim=2),
        F.log_softmax(given.masked_fill(mask, far), dim=2),
    )
    return weighted(binary + non_target_weight * among, weights)


def _two_ways(log_posterior: Tensor, is_target: Tensor) -> Tensor:
    """(..., speakers) -> (..., 2): log of the target's posterior, and of all others' sum."""
    far = torch.finfo(log_posterior.dtype).min
    target = log_posterior.masked_fill(~is_target, far).logsumexp(dim=2)
    others = log_posterior.masked_fill(is_target, far).logsumexp(dim=2)
    return torch.stack([target, others], dim=2)


def _kl(wanted: Tensor, given: Tensor) -> Tensor:
    terms = wanted.exp() * (wanted - given)
    return torch.where(wanted.exp() > 0, terms, torch.zeros_like(terms)).sum(dim=2)
