"""The optimizer of a step, and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch

from training.config import OptimizerConfig
from training.muon import MuonWithAdamW
from training.objective import Objective


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Linear from 0 to ``peak_rate`` over the warm-up, then a cosine down to ``final_rate``.

    With ``sgd_after``, another cosine from there on.
    """
    if config.sgd_after and step >= config.sgd_after:
        return _cosine(
            config.sgd_peak_rate, config.sgd_final_rate, config.sgd_after, config.steps, step
        )
    if step < config.warmup:
        return config.peak_rate * (step + 1) / config.warmup
    end = config.sgd_after or config.steps
    return _cosine(config.peak_rate, config.final_rate, config.warmup, end, step)


def _cosine(peak: float, final: float, start: int, end: int, step: int) -> float:
    progress = min(1.0, (step - start) / max(1, end - start))
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return final + (peak - final) * share


def make_optimizer(
    objective: Objective, config: OptimizerConfig, step: int
) -> torch.optim.Optimizer | MuonWithAdamW:
    """The one that takes the step ``step`` of ``objective``, with nothing remembered."""
    if config.sgd_after and step >= config.sgd_after:
        return torch.optim.SGD(
            _parameter_groups(objective, config),
            lr=config.sgd_peak_rate,
            momentum=0.9,
            nesterov=True,
        )
    if config.method == "muon":
        return MuonWithAdamW(
            objective.parameters(), config.peak_rate, config.weight_decay, objective.tables()
        )
    groups = _parameter_groups(objective, config)
    return torch.optim.AdamW(groups, lr=config.peak_rate, betas=(0.9, 0.98))


def _parameter_groups(objective: Objective, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Matrices decay, vectors do not."""
    matrices = [p for p in objective.parameters() if p.dim() > 1]
    vectors = [p for p in objective.parameters() if p.dim() <= 1]
    return [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
