"""Logistic regression of "same person" on what is known of a trial: what makes it an LLR."""

from __future__ import annotations

import numpy as np

from streamsv.scoring.sweep import BoolArray, FloatArray


def fit_weighted(
    design: FloatArray,
    is_target: BoolArray,
    weights: FloatArray,
    penalty: FloatArray,
    doubts: FloatArray | None = None,
) -> FloatArray:
    """The coefficients b that minimize a weighted cross-entropy with a ridge of their own each:

        sum of weights ln(1 + e^(-sign (design b))) + sum of penalty b^2 / 2

    ``design`` (n, k), ``is_target`` (n,) for the signs, ``weights`` (n,) at least 0, ``penalty``
    (k,) above 0. Newton's method with step halving on a convex function. Returns (k,). With the
    weights of each side adding up to one half the loss is Cllr's (Brümmer and du Preez 2006), and
    design b is a natural-log LLR. ``doubts`` (n,) is the weight with which each trial also counts
    for the other side.
    """
    signs = np.where(is_target, 1.0, -1.0)

    against = np.zeros(len(weights)) if doubts is None else doubts

    def loss(candidate: FloatArray) -> float:
        margins = signs * (design @ candidate)
        wrong = np.logaddexp(0.0, -margins)
        # ln(1 + e^m) = m + ln(1 + e^-m)
        return float(weights @ wrong + against @ (margins + wrong) + penalty @ candidate**2 / 2)

    found = np.zeros(design.shape[1])
    lowest = loss(found)
    while True:
        wrong = np.exp(-np.logaddexp(0.0, signs * (design @ found)))
        slope = signs * (against * (1 - wrong) - weights * wrong)
        gradient = design.T @ slope + penalty * found
        curvature = (weights + against) * wrong * (1 - wrong)
        step = np.linalg.solve((design.T * curvature) @ design + np.diag(penalty), gradient)
        length = 1.0
        while loss(found - length * step) > lowest - 1e-10:
            length /= 2
            if length < 1e-6:
                return found
        found = found - length * step
        lowest = loss(found)
