"""How well scores tell target trials from impostor trials.

Scores are float arrays of shape (trials,), higher for "the same person"; LLRs are natural-log
likelihood ratios. A trial is accepted when its score is at or above the threshold, and trials
with equal scores are accepted or rejected together. Every function raises `EvaluationSetError`
when one side has no trials or a score is not finite, and `ConfigError` for an operating point
that does not exist.

Sources: Brümmer and du Preez 2006, "Application-independent evaluation of speaker detection"
(Cllr, PAV); Brümmer and de Villiers 2013, "The BOSARIS Toolkit" (DCF, PAV).

The small example of the doctests is worked by hand: targets 0.9, 0.6, 0.4 and impostors
0.7, 0.4, 0.2, 0.1.

=============  ====  =====  =====  =====  =====  =====  ====
threshold       0.1    0.2    0.4    0.6    0.7    0.9   inf
=============  ====  =====  =====  =====  =====  =====  ====
miss              0      0      0    1/3    2/3    2/3     1
false accept      1    3/4    1/2    1/4    1/4      0     0
=============  ====  =====  =====  =====  =====  =====  ====
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamsv.errors import ConfigError
from streamsv.scoring.sweep import (
    FloatArray,
    IntArray,
    Sweep,
    checked_sides,
    cost_weights,
    equal_error_rates,
    minimum_costs,
    rates,
)


def eer(targets: npt.ArrayLike, impostors: npt.ArrayLike) -> float:
    """The equal error rate, a fraction in [0, 1].

    The plain definition: the mean of miss and false-accept rate at the threshold where the two
    are nearest to each other. When the last threshold before the curves cross and the first one
    after are equally near, it is the mean over both, so that swapping the sides and negating the
    scores never changes it. Nothing is interpolated, and no convex hull is taken: the ROCCH-EER
    of BOSARIS is usually a little lower.

    >>> round(eer([0.9, 0.6, 0.4], [0.7, 0.4, 0.2, 0.1]), 6)  # (1/3 + 1/4) / 2 at 0.6
    0.291667
    """
    return float(equal_error_rates(*_counts(targets, impostors))[0])


def min_dcf(
    targets: npt.ArrayLike,
    impostors: npt.ArrayLike,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """The least detection cost over all thresholds, 1 for a system that ignores the voice.

    min over t of [c_miss p P_miss(t) + c_fa (1 - p) P_fa(t)] / min(c_miss p, c_fa (1 - p)), the
    normalized detection cost of the NIST evaluations.

    >>> round(min_dcf([0.9, 0.6, 0.4], [0.7, 0.4, 0.2, 0.1]), 6)  # 2/3 missed, none accepted
    0.666667
    """
    miss_weight, fa_weight = cost_weights(p_target, c_miss, c_fa)
    least = minimum_costs(*_counts(targets, impostors), miss_weight, fa_weight)
    return float(least[0]) / min(miss_weight, fa_weight)


def act_dcf(
    target_llrs: npt.ArrayLike,
    impostor_llrs: npt.ArrayLike,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """The detection cost at the Bayes threshold log(c_fa (1 - p) / (c_miss p)), as `min_dcf`.

    At p = 0.01 the threshold is log 99 = 4.595: the third target and the first impostor err.

    >>> round(act_dcf([9.0, 6.0, 4.0], [7.0, 4.0, -2.0, -1.0]), 6)  # 1/3 + 99 / 4
    25.083333
    """
    accepted, refused = checked_sides(target_llrs, impostor_llrs)
    miss_weight, fa_weight = cost_weights(p_target, c_miss, c_fa)
    threshold = math.log(fa_weight / miss_weight)
    cost = miss_weight * np.mean(accepted < threshold) + fa_weight * np.mean(refused >= threshold)
    return float(cost) / min(miss_weight, fa_weight)


def cllr(target_llrs: npt.ArrayLike, impostor_llrs: npt.ArrayLike) -> float:
    """The cost of the LLRs over all operating points, in bits; 0 perfect, 1 for LLRs of 0.

    1 / (2 ln 2) [mean over targets of ln(1 + e^-llr) + mean over impostors of ln(1 + e^llr)]
    (Brümmer and du Preez 2006), written so that no exponential overflows.

    >>> cllr([0.0], [0.0])
    1.0
    """
    return _bits(*checked_sides(target_llrs, impostor_llrs))


def pav(targets: npt.ArrayLike, impostors: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The best LLRs that a rising function of the scores can give on these very trials.

    Pool adjacent violators on the share of targets at each distinct score, minus the log-odds of
    the trials (Brümmer and du Preez 2006), without pseudo-counts. Returns the LLRs of the targets
    (n_targets,) and of the impostors (n_impostors,), in the order given. Where only targets, or
    only impostors, are left at an end they are +inf, or -inf.

    The target and the impostor at 0.4 share a bin, the target at 0.6 and the impostor at 0.7
    violate each other; both bins hold 1 of 3 targets and 1 of 4 impostors, so they pool to
    log(2/3 : 2/4).

    >>> pav([0.9, 0.6, 0.4], [0.7, 0.4, 0.2, 0.1])[0].round(6).tolist()
    [inf, 0.287682, 0.287682]
    """
    target_scores, impostor_scores = checked_sides(targets, impostors)
    distinct, place = np.unique(
        np.concatenate([target_scores, impostor_scores]), return_inverse=True
    )
    n_targets, n_impostors = len(target_scores), len(impostor_scores)
    at_score = np.stack(
        [
            np.bincount(place[:n_targets], minlength=len(distinct)),
            np.bincount(place[n_targets:], minlength=len(distinct)),
        ],
        axis=1,
    )
    bins = np.array(_pooled(at_score.tolist()), dtype=np.int64)
    with np.errstate(divide="ignore"):
        of_bin = np.log(bins[:, 0] / n_targets) - np.log(bins[:, 1] / n_impostors)
    llrs = np.repeat(of_bin, bins[:, 2])[place]
    return llrs[:n_targets], llrs[n_targets:]


def min_cllr(targets: npt.ArrayLike, impostors: npt.ArrayLike) -> float:
    """The Cllr, in bits, left after the best calibration: what discrimination alone costs.

    `cllr` of the LLRs of `pav`, in which an infinite LLR on the right side costs nothing (there
    is none on the wrong side). Never above `cllr` of the same scores.

    The pooled bin costs 2/3 log2(1 + 3/4) / 2 on targets and 2/4 log2(1 + 4/3) / 2 on impostors.

    >>> round(min_cllr([0.9, 0.6, 0.4], [0.7, 0.4, 0.2, 0.1]), 6)
    0.574716
    """
    return _bits(*pav(targets, impostors))


def det_curve(
    targets: npt.ArrayLike, impostors: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """False-accept rate, miss rate and threshold of every operating point, by rising threshold.

    Each is float64 of shape (distinct scores + 1,); the first point accepts everything, the last,
    at infinity, nothing.

    >>> false_accept, miss, thresholds = det_curve([2.0], [1.0])
    >>> false_accept.tolist(), miss.tolist(), thresholds.tolist()
    ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 2.0, inf])
    """
    sweep, weights = _swept(targets, impostors)
    miss, false_accept = rates(*sweep.counts(weights))
    return false_accept[0], miss[0], sweep.thresholds


def frr_at_far(targets: npt.ArrayLike, impostors: npt.ArrayLike, far: float) -> float:
    """The share of targets refused at the lowest threshold whose false-accept rate is <= ``far``.

    >>> round(frr_at_far([0.9, 0.6, 0.4], [0.7, 0.4, 0.2, 0.1], far=0.25), 6)  # at 0.6
    0.333333
    """
    if not 0 <= far <= 1:
        raise ConfigError(f"far must be a rate in [0, 1]; got {far}.", far)
    false_accept, miss, _ = det_curve(targets, impostors)
    return float(miss[false_accept <= far].min())


def _swept(targets: npt.ArrayLike, impostors: npt.ArrayLike) -> tuple[Sweep, IntArray]:
    """The trials of both sides sorted, and a row of weights that counts each once."""
    sides = checked_sides(targets, impostors)
    scores = np.concatenate(sides)
    is_target = np.arange(len(scores)) < len(sides[0])
    return Sweep.of(scores, is_target), np.ones((1, len(scores)), dtype=np.int64)


def _counts(targets: npt.ArrayLike, impostors: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    sweep, weights = _swept(targets, impostors)
    return sweep.counts(weights)


def _bits(target_llrs: FloatArray, impostor_llrs: FloatArray) -> float:
    miss = np.logaddexp(0.0, -target_llrs).mean()
    false_accept = np.logaddexp(0.0, impostor_llrs).mean()
    return float(miss + false_accept) / (2 * math.log(2))


def _pooled(at_score: list[list[int]]) -> list[list[int]]:
    """Pool neighbors until the share of targets rises: [targets, impostors, distinct scores].

    Shares are compared as products of whole numbers, so equal shares pool exactly.
    """
    bins: list[list[int]] = []
    for targets, impostors in at_score:
        bins.append([targets, impostors, 1])
        while len(bins) > 1 and bins[-2][0] * bins[-1][1] >= bins[-1][0] * bins[-2][1]:
            top = bins.pop()
            bins[-1] = [low + high for low, high in zip(bins[-1], top, strict=True)]
    return bins
