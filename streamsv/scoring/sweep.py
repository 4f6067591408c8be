"""The two error rates of every threshold, for one weighting of the trials or for thousands.

A trial is accepted when its score is at or above the threshold. Between two neighboring scores
nothing changes, so the distinct scores, and infinity to reject everything, are all the thresholds
there are. Equal scores stand or fall together: no order of the trials is ever read into a tie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamsv.errors import ConfigError, EvaluationSetError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Trials sorted once by score, so that many weightings of them are cheap to count.

    Fields
    ------
    order: int64, shape (n,): the trials by rising score.
    starts: int64, shape (k,): where in ``order`` each distinct score begins.
    is_target: bool, shape (n,), in the sorted order.
    thresholds: float64, shape (k + 1,): the distinct scores, rising, then infinity.
    """

    order: IntArray
    starts: IntArray
    is_target: BoolArray
    thresholds: FloatArray

    @classmethod
    def of(cls, scores: FloatArray, is_target: BoolArray) -> Sweep:
        """Sort ``scores`` (n,) with the labels ``is_target`` (n,); both non-empty."""
        order = np.argsort(scores, kind="stable").astype(np.int64)
        distinct, starts = np.unique(scores[order], return_index=True)
        return cls(order, starts.astype(np.int64), is_target[order], np.append(distinct, np.inf))

    def counts(self, weights: IntArray) -> tuple[IntArray, IntArray]:
        """How much is missed and how much falsely accepted at each threshold.

        ``weights`` is (r, n), whole numbers, a row for each weighting, its columns in the order
        of the trials given to `of`. Returns ``misses`` and ``false_accepts``, each (r, k + 1):
        the weight of targets below a threshold, and of impostors at or above it. The last column
        of ``misses`` is the weight of all targets, the first of ``false_accepts`` that of all
        impostors.
        """
        ordered = weights[:, self.order]
        edge = np.zeros((len(ordered), 1), dtype=np.int64)
        target_steps = np.add.reduceat(ordered * self.is_target, self.starts, axis=1)
        impostor_steps = np.add.reduceat(ordered * ~self.is_target, self.starts, axis=1)
        misses = np.concatenate([edge, np.cumsum(target_steps, axis=1)], axis=1)
        below = np.concatenate([edge, np.cumsum(impostor_steps, axis=1)], axis=1)
        return misses, below[:, -1:] - below


def rates(misses: IntArray, false_accepts: IntArray) -> tuple[FloatArray, FloatArray]:
    """The counts of `Sweep.counts` as fractions: miss rate and false-accept rate, (r, k + 1)."""
    return misses / misses[:, -1:], false_accepts / false_accepts[:, :1]


def equal_error_rates(misses: IntArray, false_accepts: IntArray) -> FloatArray:
    """The equal error rate of each weighting, shape (r,); `streamsv.scoring.metrics.eer` says how.

    The comparison is made on whole numbers (both rates times both totals), so it is exact.
    """
    rows = np.arange(len(misses))
    gap = false_accepts * misses[:, -1:] - misses * false_accepts[:, :1]
    after = np.argmax(gap <= 0, axis=1)
    before = after - 1
    lead = gap[rows, before] + gap[rows, after]
    miss, false_accept = rates(misses, false_accepts)
    mean = (miss + false_accept) / 2
    at_before, at_after = mean[rows, before], mean[rows, after]
    nearest = np.where(lead < 0, at_before, at_after)
    crossing: FloatArray = np.where(lead == 0, (at_before + at_after) / 2, nearest)
    return crossing


def minimum_costs(
    misses: IntArray, false_accepts: IntArray, miss_weight: float, false_accept_weight: float
) -> FloatArray:
    """The least detection cost of each weighting over all thresholds, shape (r,), not normalized.

    The weights are those of `cost_weights`.
    """
    miss, false_accept = rates(misses, false_accepts)
    least: FloatArray = np.min(miss_weight * miss + false_accept_weight * false_accept, axis=1)
    return least


def checked_sides(
    targets: npt.ArrayLike, impostors: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Both sides as float64 of shape (trials,).

    Raises `EvaluationSetError` that says which is empty, not a list or not finite.
    """
    sides = []
    for name, given in (("target", targets), ("impostor", impostors)):
        side = np.asarray(given, dtype=np.float64)
        if side.ndim != 1 or not len(side):
            raise EvaluationSetError(
                f"The {name} scores must be a list with at least one score; got shape "
                f"{side.shape}. A metric needs trials of both kinds.",
                str(side.shape),
            )
        broken = side[~np.isfinite(side)]
        if len(broken):
            raise EvaluationSetError(
                f"{len(broken)} of {len(side)} {name} scores are not finite, the first is "
                f"{broken[0]}. Leave these trials out or score them again.",
                float(broken[0]),
            )
        sides.append(side)
    return sides[0], sides[1]


def cost_weights(p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """Cost times prior: c_miss p_target and c_fa (1 - p_target).

    Raises `ConfigError` when the prior is not between 0 and 1 or a cost is not above 0.
    """
    if not 0 < p_target < 1:
        raise ConfigError(f"p_target must lie between 0 and 1; got {p_target}.", p_target)
    if not (0 < c_miss < math.inf and 0 < c_fa < math.inf):
        raise ConfigError(f"Costs must be above 0; got c_miss {c_miss}, c_fa {c_fa}.", c_miss)
    return c_miss * p_target, c_fa * (1 - p_target)
