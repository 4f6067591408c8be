"""How far a metric might have come out otherwise, had other speakers been recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.scoring.metrics import eer, min_dcf
from streamsv.scoring.sweep import (
    BoolArray,
    FloatArray,
    IntArray,
    Sweep,
    checked_sides,
    cost_weights,
    equal_error_rates,
    minimum_costs,
)

Metric = Callable[[FloatArray, FloatArray], float]


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

    ``scores`` (n,), ``is_target`` (n,), one enrolled and one test speaker a trial. `eer` and
    `min_dcf`, also as a `functools.partial` with keywords, are computed for all resamples at
    once; any other ``metric(targets, impostors)`` is called on the repeated scores.

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
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1; got {resamples}.", resamples)
    checked_sides(values[labels], values[~labels])
    people, sides = np.unique([*enroll_speaker, *test_speaker], return_inverse=True)
    enrolled, tested = sides[: len(values)], sides[len(values) :]
    contradicted = np.flatnonzero((enrolled == tested) != labels)
    if len(contradicted):
        row = int(contradicted[0])
        raise EvaluationSetError(
            f"Trial {row} is {'a target' if labels[row] else 'an impostor'} trial between "
            f"{enroll_speaker[row]!r} and {test_speaker[row]!r}; a target trial has one speaker, "
            "an impostor trial two. Correct the label or the speaker.",
            row,
        )
    measure = _measure(metric, values, labels)
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
    low, high = np.quantile(np.concatenate(kept), [0.025, 0.975])
    return float(low), float(high)


def _measure(
    metric: Metric, scores: FloatArray, is_target: BoolArray
) -> Callable[[IntArray], FloatArray]:
    """``metric`` as a function of weights (r, n), returning (r,)."""
    plain, keywords = metric, {}
    if isinstance(metric, functools.partial) and not metric.args:
        plain, keywords = metric.func, metric.keywords
    sweep = Sweep.of(scores, is_target)
    if plain is eer:
        return lambda weights: equal_error_rates(*sweep.counts(weights))
    if plain is min_dcf:
        point = {"p_target": 0.01, "c_miss": 1.0, "c_fa": 1.0, **keywords}
        miss_weight, fa_weight = cost_weights(**point)
        scale = min(miss_weight, fa_weight)
        return lambda weights: minimum_costs(*sweep.counts(weights), miss_weight, fa_weight) / scale

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
