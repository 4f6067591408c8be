"""BatchNorm's running statistics, moved once a step by all portions of all processes.

BatchNorm by itself moves them with every batch that it sees, so several portions a step would
count by their order, and several processes would each keep those of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.distributed import World


class RunningStatistics:
    """The running means and variances of every BatchNorm of ``module``.

    With momentum m, old statistics r and portions with the statistics s_1 ... s_n, whoever computes
    them, a step leaves (1 - m) r + m mean(s).
    """

    def __init__(self, module: nn.Module, world: World) -> None:
        self._world = world
        self._kept: list[tuple[_BatchNorm, float]] = []
        for part in module.modules():
            if isinstance(part, _BatchNorm) and part.running_mean is not None:
                assert part.momentum is not None, "a cumulative mean has no momentum to move by"
                self._kept.append((part, part.momentum))
        self._sums = [torch.zeros_like(each) for each in self._running()]
        self._portions = 0

    def _running(self) -> list[Tensor]:
        found: list[Tensor] = []
        for part, _ in self._kept:
            assert part.running_mean is not None
            assert part.running_var is not None
            found += [part.running_mean, part.running_var]
        return found

    def _counts(self) -> list[Tensor]:
        counts = [part.num_batches_tracked for part, _ in self._kept]
        return [count for count in counts if count is not None]

    @contextlib.contextmanager
    def portion(self) -> Iterator[None]:
        """Around the pass of one portion: it leaves the statistics as they were, and is counted."""
        running, counts = self._running(), self._counts()
        before = [each.clone() for each in (*running, *counts)]
        for each in running:
            each.zero_()
        yield
        with torch.no_grad():
            for each, total in zip(running, self._sums, strict=True):
                total += each  # momentum times the portion's own
            for each, old in zip((*running, *counts), before, strict=True):
                each.copy_(old)
        self._portions += 1

    @torch.no_grad()
    def step(self, is_taken: bool) -> None:
        """Move them by the portions since the last step; all processes together. Not if skipped."""
        portions, self._portions = self._portions, 0
        momenta = [momentum for _, momentum in self._kept for _ in range(2)]
        for each, total, momentum in zip(self._running(), self._sums, momenta, strict=True):
            mean = self._world.average(total / portions)
            if is_taken:
                each.mul_(1 - momentum).add_(mean)
            total.zero_()
        for count in self._counts():
            count += int(is_taken)
