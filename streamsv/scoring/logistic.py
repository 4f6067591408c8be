"""Logistic regression of "same person" on a score: the line that makes it an LLR."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.scoring.sweep import BoolArray, FloatArray, checked_sides


def fit_logistic(
    scores: npt.ArrayLike, is_target: npt.ArrayLike, prior: float = 0.5, ridge: float = 1e-6
) -> tuple[float, float]:
    """Slope and offset such that slope * score + offset is the best natural-log LLR.

    Minimizes Brümmer's prior-weighted cross-entropy (Brümmer and du Preez 2006; at a prior of 0.5
    it is Cllr)

        p mean over targets of ln(1 + e^-(llr + logit p))
        + (1 - p) mean over impostors of ln(1 + e^(llr + logit p))
        + ridge p (1 - p) / 2 slope'^2

    by Newton's method with step halving; it is convex, so there is one answer. slope' is the
    slope over scores scaled to unit variance: the ridge moves an ordinary fit by less than its
    fourth digit, and keeps the slope finite where the scores separate the two sides.

    ``scores`` (n,), ``is_target`` (n,). Raises `EvaluationSetError` when a side is empty, a score
    not finite, or the lengths differ, `ConfigError` for a prior outside (0, 1) or a ridge not
    above 0.
    """
    if not 0 < prior < 1:
        raise ConfigError(f"prior must lie between 0 and 1; got {prior}.", prior)
    if not 0 < ridge < math.inf:
        raise ConfigError(f"ridge must be above 0; got {ridge}.", ridge)
    values = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(is_target, dtype=np.bool_)
    if values.shape != labels.shape:
        raise EvaluationSetError(
            f"Scores and labels must be of the same trials; got {values.shape} and {labels.shape}.",
            str(labels.shape),
        )
    targets, impostors = checked_sides(values[labels], values[~labels])
    weights = np.where(labels, prior / len(targets), (1 - prior) / len(impostors))
    center = float(weights @ values)
    spread = math.sqrt(float(weights @ (values - center) ** 2)) or 1.0
    slope, offset = _newton(
        (values - center) / spread,
        np.where(labels, 1.0, -1.0),
        weights,
        math.log(prior / (1 - prior)),
        ridge * prior * (1 - prior),
    )
    return slope / spread, offset - slope * center / spread


def _newton(
    scores: FloatArray, signs: FloatArray, weights: FloatArray, prior_log_odds: float, ridge: float
) -> tuple[float, float]:
    design = np.stack([scores, np.ones_like(scores)], axis=1)
    penalty = np.array([ridge, 0.0])

    def loss(line: FloatArray) -> float:
        margins = signs * (design @ line + prior_log_odds)
        return float(weights @ np.logaddexp(0.0, -margins) + penalty @ line**2 / 2)

    line = np.zeros(2)
    lowest = loss(line)
    while True:
        odds = design @ line + prior_log_odds
        wrong = np.exp(-np.logaddexp(0.0, signs * odds))
        gradient = -design.T @ (weights * signs * wrong) + penalty * line
        curvature = weights * wrong * (1 - wrong)
        step = np.linalg.solve((design.T * curvature) @ design + np.diag(penalty), gradient)
        length = 1.0
        while loss(line - length * step) >= lowest:
            length /= 2
            if length < 1e-9:
                return float(line[0]), float(line[1])
        line = line - length * step
        lowest = loss(line)


def fit_weighted(
    design: FloatArray, is_target: BoolArray, weights: FloatArray, penalty: FloatArray
) -> FloatArray:
    """The coefficients b that minimize a weighted cross-entropy with a ridge of their own each:

        sum of weights ln(1 + e^(-sign (design b))) + sum of penalty b^2 / 2

    ``design`` (n, k), ``is_target`` (n,) for the signs, ``weights`` (n,) at least 0, ``penalty``
    (k,) above 0. Newton's method with step halving on a convex function. Returns (k,).
    """
    signs = np.where(is_target, 1.0, -1.0)

    def loss(candidate: FloatArray) -> float:
        margins = signs * (design @ candidate)
        return float(weights @ np.logaddexp(0.0, -margins) + penalty @ candidate**2 / 2)

    found = np.zeros(design.shape[1])
    lowest = loss(found)
    while True:
        wrong = np.exp(-np.logaddexp(0.0, signs * (design @ found)))
        gradient = -design.T @ (weights * signs * wrong) + penalty * found
        curvature = weights * wrong * (1 - wrong)
        step = np.linalg.solve((design.T * curvature) @ design + np.diag(penalty), gradient)
        length = 1.0
        while loss(found - length * step) > lowest - 1e-10:
            length /= 2
            if length < 1e-6:
                return found
        found = found - length * step
        lowest = loss(found)
