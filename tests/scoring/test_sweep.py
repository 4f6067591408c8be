"""Counting errors under weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamsv.scoring.sweep import Sweep, equal_error_rates, minimum_costs, rates

trials = st.lists(
    st.tuples(st.integers(-5, 5), st.booleans(), st.integers(0, 4)), min_size=1, max_size=40
).filter(lambda rows: {is_target for _, is_target, weight in rows if weight} == {True, False})


@given(trials)
def test_a_weight_counts_as_that_many_copies_of_the_trial(rows: list[Any]) -> None:
    scores, is_target, weights = (np.array(column) for column in zip(*rows, strict=True))
    scores = scores.astype(np.float64)
    weighted = Sweep.of(scores, is_target).counts(weights[None])
    copies = Sweep.of(np.repeat(scores, weights), np.repeat(is_target, weights)).counts(
        np.ones((1, weights.sum()), dtype=np.int64)
    )
    assert equal_error_rates(*weighted) == equal_error_rates(*copies)
    assert minimum_costs(*weighted, 0.3, 0.7) == minimum_costs(*copies, 0.3, 0.7)


@given(trials)
def test_misses_rise_and_false_accepts_fall_with_the_threshold(rows: list[Any]) -> None:
    scores, is_target, weights = (np.array(column) for column in zip(*rows, strict=True))
    miss, false_accept = rates(*Sweep.of(scores.astype(float), is_target).counts(weights[None]))
    assert (np.diff(miss[0]) >= 0).all()
    assert (np.diff(false_accept[0]) <= 0).all()
    assert (miss[0, 0], miss[0, -1], false_accept[0, 0], false_accept[0, -1]) == (0, 1, 1, 0)
