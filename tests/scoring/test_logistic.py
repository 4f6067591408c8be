"""Logistic calibration, against Gaussians with a known answer and scikit-learn."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from streamsv.scoring.logistic import fit_weighted
from streamsv.scoring.metrics import cllr

Trials = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def gaussians(target_mean: float, impostor_mean: float, deviation: float) -> Trials:
    """4000 evenly spaced quantiles of each side: no chance, so the known answer is met closely."""
    shares = (np.arange(4000) + 0.5) / 4000
    normal = np.array([NormalDist().inv_cdf(share) for share in shares]) * deviation
    scores = np.concatenate([target_mean + normal, impostor_mean + normal])
    return scores, np.arange(8000) < 4000


def overlapping(seed: int) -> Trials:
    draw = np.random.default_rng(seed)
    is_target = np.arange(700) < 90
    return draw.normal(0.1, 0.12, 700) + 0.3 * is_target, is_target


def line(
    scores: npt.ArrayLike, is_target: npt.ArrayLike, ridge: float = 1e-9
) -> tuple[float, float]:
    """Slope and offset of the LLR, each side weighing one half."""
    labels = np.asarray(is_target, dtype=np.bool_)
    design = np.stack([np.asarray(scores, np.float64), np.ones(len(labels))], axis=1)
    weights = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    slope, offset = fit_weighted(design, labels, weights, np.full(2, ridge))
    return float(slope), float(offset)


def test_two_gaussians_of_one_variance_give_their_known_line() -> None:
    target_mean, impostor_mean, deviation = 0.55, 0.1, 0.2
    slope, offset = line(*gaussians(target_mean, impostor_mean, deviation))
    expected = (target_mean - impostor_mean) / deviation**2
    assert slope == pytest.approx(expected, rel=2e-3)
    assert offset == pytest.approx(-expected * (target_mean + impostor_mean) / 2, rel=2e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_of_several_columns_is_that_of_scikit_learn(seed: int) -> None:
    """Its one penalty is here a penalty for each coefficient, and C is over the sum of weights."""
    scores, is_target = overlapping(seed)
    draw = np.random.default_rng(seed)
    design = np.stack([scores, scores * draw.normal(size=700), draw.normal(size=700)], axis=1)
    weights, penalty = draw.uniform(0.1, 2.0, 700), 0.7
    oracle = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=1000)
    oracle.fit(design, is_target, sample_weight=weights)
    found = fit_weighted(design, is_target, weights, np.full(3, penalty))
    np.testing.assert_allclose(found, oracle.coef_[0], rtol=1e-4, atol=1e-5)


def test_each_coefficient_has_a_ridge_of_its_own() -> None:
    scores, is_target = overlapping(0)
    design = np.stack([scores, np.ones(700)], axis=1)
    free = fit_weighted(design, is_target, np.ones(700), np.array([1e-6, 1e-6]))
    held = fit_weighted(design, is_target, np.ones(700), np.array([1e6, 1e-6]))
    assert abs(held[0]) < 1e-3 < 1 < free[0]
    share = is_target.mean()
    assert held[1] == pytest.approx(math.log(share / (1 - share)), abs=0.01)


def test_no_line_nearby_has_a_lower_cllr() -> None:
    scores, is_target = overlapping(2)
    slope, offset = line(scores, is_target)

    def cost(a: float, b: float) -> float:
        return cllr(a * scores[is_target] + b, a * scores[~is_target] + b)

    for a, b in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99), (1.01, 1.01)):
        assert cost(slope * a, offset * b) > cost(slope, offset)


def test_scores_that_separate_the_sides_still_give_a_finite_line() -> None:
    scores, labels = [0.7, 0.8, 0.9, 0.1, 0.2], [True, True, True, False, False]
    slope, offset = line(scores, labels, ridge=1e-4)
    assert 10 < slope < 1000
    assert 0.2 < -offset / slope < 0.7


def test_equal_scores_are_worth_nothing() -> None:
    assert line([0.5, 0.5, 0.5], [1, 0, 0]) == pytest.approx((0.0, 0.0), abs=1e-9)
