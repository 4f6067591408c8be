"""Cllr, PAV and logistic calibration against lir, the likelihood ratios of the Netherlands Forensic
Institute (base 10). EER and detection costs are held to other packages in test_metrics."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from lir import metrics as lir_metrics
from lir.algorithms.isotonic_regression import IsotonicCalibrator
from lir.algorithms.logistic_regression import LogitCalibrator
from lir.data.models import LLRData

from streamsv.scoring.logistic import fit_weighted
from streamsv.scoring.metrics import cllr, min_cllr, pav

Sides = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def sample(seed: int) -> Sides:
    """Overlapping LLRs, some of them tied."""
    draw = np.random.default_rng(seed)
    targets = draw.normal(2.0, 1.5, int(draw.integers(20, 200)))
    impostors = draw.normal(-1.5, 1.3, int(draw.integers(50, 900)))
    return targets.round(2), impostors.round(2)


samples = pytest.mark.parametrize("sides", [sample(seed) for seed in range(4)])


def labelled(sides: Sides) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    return np.concatenate(sides), np.repeat([1, 0], [len(side) for side in sides])


def as_lir(sides: Sides) -> LLRData:
    llrs, labels = labelled(sides)
    return LLRData(features=llrs / math.log(10), labels=labels)


@samples
def test_cllr_and_min_cllr_are_those_of_lir(sides: Sides) -> None:
    assert cllr(*sides) == pytest.approx(lir_metrics.cllr(as_lir(sides)))
    assert min_cllr(*sides) == pytest.approx(lir_metrics.cllr_min(as_lir(sides)))
    loss = cllr(*sides) - min_cllr(*sides)
    assert loss == pytest.approx(lir_metrics.cllr_cal(as_lir(sides)))


@samples
def test_pav_is_the_isotonic_calibrator_of_lir(sides: Sides) -> None:
    with np.errstate(divide="ignore"):
        expected = IsotonicCalibrator().fit_transform(*labelled(sides)) * math.log(10)
    np.testing.assert_allclose(np.concatenate(pav(*sides)), expected, atol=1e-9)


@samples
def test_the_logistic_calibration_is_that_of_lir(sides: Sides) -> None:
    scores, labels = labelled(sides)
    design = np.stack([scores, np.ones(len(scores))], axis=1)
    weights = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())
    slope, offset = fit_weighted(design, labels == 1, weights, np.full(2, 1e-9))
    oracle = LogitCalibrator(C=1e8, tol=1e-10, max_iter=1000).fit(scores, labels)
    expected = oracle.transform(scores) * math.log(10)
    np.testing.assert_allclose(slope * scores + offset, expected, rtol=1e-3, atol=1e-3)
