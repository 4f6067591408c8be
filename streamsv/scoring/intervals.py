"""How far a metric might have come out otherwise, had other speakers been recorded."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.scoring.metrics import act_dcf, cllr, eer, frr_at_far, min_dcf
from streamsv.scoring.sweep import (
    BoolArray,
    FloatArray,
    IntArray,
    Sweep,
    checked_sides,
    cost_weights,
    equal_error_rates,
    minimum_costs,
    rates,
)

Metric = Callable[[FloatArray, FloatArray], float]
Weighted = Callable[[IntArray], FloatArray]
"""A metric of weighted trials: from weights (r, n), a row for each resample, to (r,)."""


def speaker_intervals(
    metric: Metric,
    scores: npt.ArrayLike,
    is_target: npt.ArrayLike,
    enroll_speaker: Sequence[str],
    test_speaker: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of a metric when other speakers might have been recorded.

    Trials that share a speaker are not independent, so speakers are resampled, not trials: each
    resample draws as many speakers as there are, with replacement, once for both sides. An
    impostor trial then counts as often as its enrolled speaker was drawn times as often as its
    test speaker; a target trial, which has one speaker, as often as that one was drawn. (Two
    draws of one person are not made into impostors of each other.) A resample that leaves no
    target or no impostor is drawn again. Returned are the 2.5 % and 97.5 % quantiles.

    ``scores`` (n,), ``is_target`` (n,), one enrolled and one test speaker a trial. `eer`,
    `min_dcf`, `act_dcf`, `frr_at_far` and `cllr`, also as a `functools.partial` with keywords,
    are computed for all resamples at once; any other ``metric(targets, impostors)`` is called on
    the repeated scores.

    Raises `EvaluationSetError` when the lengths differ, when a label contradicts the speakers, or
    when a side is empty; `ConfigError` when ``resamples`` is below 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(is_target, dtype=np.bool_)
    if not values.shape == labels.shape == (len(enroll_speaker),) == (len(test_speaker),):
        raise EvaluationSetError(
            "Scores, labels and both speakers must be given for the same trials; got shapes "
            f"{values.shape} and {labels.shape}, {len(enroll_speaker)} enrolled and "
            f"{len(test_speaker)} test speakers."
        )
    checked_sides(values[labels], values[~labels])
    measure = _measure(metric, values, labels)
    return resampled_interval(measure, labels, enroll_speaker, test_speaker, resamples, seed)


def resampled_interval(
    measure: Weighted,
    is_target: BoolArray,
    enroll_speaker: Sequence[str],
    test_speaker: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of `speaker_intervals` for any ``measure`` of weighted trials.

    A resample that leaves ``measure`` nothing to measure is NaN there, and counts for nothing; if
    all are, so are the limits. Raises as `speaker_intervals` does.
    """
    labels = is_target
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1; got {resamples}.", resamples)
    people, sides = np.unique([*enroll_speaker, *test_speaker], return_inverse=True)
    enrolled, tested = sides[: len(labels)], sides[len(labels) :]
    contradicted = np.flatnonzero((enrolled == tested) != labels)
    if len(contradicted):
        row = int(contradicted[0])
        raise EvaluationSetError(
            f"Trial {row} is {'a target' if labels[row] else 'an impostor'} trial between "
            f"{enroll_speaker[row]!r} and {test_speaker[row]!r}; a target trial has one speaker, "
            "an impostor trial two. Correct the label or the speaker.",
            row,
        )
    draw = np.random.default_rng(seed)
    chances = np.full(len(people), 1 / len(people))
    kept: list[FloatArray] = []
    missing = resamples
    while missing > 0:
        drawn = draw.multinomial(len(people), chances, size=min(missing, 128))
        weights = drawn[:, enrolled] * np.where(labels, 1, drawn[:, tested])
        usable = weights[:, labels].any(axis=1) & weights[:, ~labels].any(axis=1)
        if usable.any():
            kept.append(measure(weights[usable]))
        missing -= int(usable.sum())
    found = np.concatenate(kept)
    found = found[~np.isnan(found)]
    if not len(found):
        return math.nan, math.nan
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def weighted_share(holds: BoolArray, among: BoolArray) -> Weighted:
    """The share of the trials ``among`` (n,) for which it ``holds`` (n,); NaN if none was drawn."""

    def measure(weights: IntArray) -> FloatArray:
        of_these = weights * among
        with np.errstate(invalid="ignore"):
            share: FloatArray = (of_these * holds).sum(axis=1) / of_these.sum(axis=1)
        return share

    return measure


def _measure(metric: Metric, scores: FloatArray, is_target: BoolArray) -> Weighted:
    """``metric`` as a function of weighted trials."""
    plain: Any = metric
    keywords: dict[str, Any] = {}
    if isinstance(metric, functools.partial) and not metric.args:
        plain, keywords = metric.func, metric.keywords
    sweep = Sweep.of(scores, is_target)
    if plain is eer:
        return lambda weights: equal_error_rates(*sweep.counts(weights))
    if plain in (min_dcf, act_dcf):
        point = {"p_target": 0.01, "c_miss": 1.0, "c_fa": 1.0, **keywords}
        miss_weight, fa_weight = cost_weights(**point)
        scale = min(miss_weight, fa_weight)
    if plain is min_dcf:
        return lambda weights: minimum_costs(*sweep.counts(weights), miss_weight, fa_weight) / scale
    if plain is act_dcf:
        is_accepted = scores >= math.log(fa_weight / miss_weight)
        costs = np.where(is_target, miss_weight * ~is_accepted, fa_weight * is_accepted)
        return _sum_of_means(costs / scale, is_target)
    if plain is cllr:
        bits = np.logaddexp(0.0, np.where(is_target, -scores, scores)) / (2 * math.log(2))
        return _sum_of_means(bits, is_target)
    if plain is frr_at_far:
        far = keywords["far"]

        def refused(weights: IntArray) -> FloatArray:
            miss, false_accept = rates(*sweep.counts(weights))
            least: FloatArray = np.where(false_accept <= far, miss, np.inf).min(axis=1)
            return least

        return refused

    def repeated(weights: IntArray) -> FloatArray:
        targets, impostors = scores[is_target], scores[~is_target]
        return np.array(
            [
                metric(np.repeat(targets, row[is_target]), np.repeat(impostors, row[~is_target]))
                for row in weights
            ],
            dtype=np.float64,
        )

    return repeated


def _sum_of_means(costs: FloatArray, is_target: BoolArray) -> Weighted:
    """The mean cost of a target and the mean cost of an impostor, added."""
    of_target = np.where(is_target, costs, 0.0)
    of_impostor = np.where(is_target, 0.0, costs)

    def measure(weights: IntArray) -> FloatArray:
        total: FloatArray = (weights @ of_target) / weights[:, is_target].sum(axis=1)
        total += (weights @ of_impostor) / weights[:, ~is_target].sum(axis=1)
        return total

    return measure
