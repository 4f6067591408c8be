"""Boundaries on made-up calls whose error is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsv.errors import ConfigError
from streamsv.evaluation.achieved import achieved
from streamsv.evaluation.stopping import (
    FROM_S,
    LOOK_S,
    SPENDINGS,
    UNTIL_S,
    CallPaths,
    conformal_shift,
    in_steps,
    look_times,
    rule_of,
    shapes,
    spend,
    spending_of,
)

FOLDS = 4


def made_up(people: int, calls: int, seed: int) -> CallPaths:
    """LLRs of a session offset and white noise: paper.md's model, calls of one person alike."""
    draw = np.random.default_rng(seed)
    times = look_times()
    rows, labels, names = [], [], []
    for person in range(people):
        own = draw.normal(0, 0.5)
        for is_target in (True, False):
            for _ in range(calls):
                noise = np.cumsum(draw.normal(0, 1.0, len(times))) / np.arange(1, len(times) + 1)
                quality = (1.0 if is_target else -1.0) + 0.4 * (own + draw.normal()) + 2.0 * noise
                rows.append(3.0 * quality * times / (times + 1.0))
                labels.append(is_target)
                names.append(f"p{person}")
    return CallPaths(np.array(rows), np.array(labels), np.array(names))


def folds(paths: CallPaths) -> tuple[list[CallPaths], list[CallPaths]]:
    number = np.array([int(name[1:]) % FOLDS for name in paths.speaker])
    held = [paths.only(number == fold) for fold in range(FOLDS)]
    return held, [paths.only(number != fold) for fold in range(FOLDS)]


@pytest.mark.parametrize("name", SPENDINGS)
def test_spending_rises_to_the_whole_error(name: str) -> None:
    spent = [SPENDINGS[name](0.05, share) for share in np.linspace(0.01, 1.0, 30)]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(0.05)
    assert 0 <= spent[0] < 0.01


def test_obrien_and_fleming_spend_less_early_than_pocock() -> None:
    assert SPENDINGS["obrien-fleming"](0.05, 0.3) < 0.002 < SPENDINGS["pocock"](0.05, 0.3)


def test_an_unknown_spending_is_refused() -> None:
    with pytest.raises(ConfigError, match="obrien-fleming"):
        spending_of("haybittle")


def test_looks_are_on_the_grid() -> None:
    times = look_times()
    assert times[0] >= FROM_S[0]
    assert times[-1] <= UNTIL_S < times[-1] + LOOK_S
    np.testing.assert_allclose(times / LOOK_S, np.round(times / LOOK_S))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.01, 0.3))
def test_no_more_is_spent_than_the_budget(seed: int, alpha: float) -> None:
    paths = made_up(20, 2, seed)
    highest = in_steps(paths.llrs)
    budgets = np.linspace(alpha / len(FROM_S), alpha, len(FROM_S))
    bounds = spend(highest, paths.speaker, budgets)
    assert (np.diff(bounds) <= 1e-12).all()
    crossed = np.maximum.accumulate(highest >= bounds, axis=1)
    assert (crossed.mean(axis=0) <= budgets + 1e-9).all()


def test_the_shift_is_the_conformal_quantile_when_each_speaker_has_one_call() -> None:
    excesses = np.random.default_rng(0).normal(size=99)
    names = np.array([f"p{n}" for n in range(99)])
    # ceil(100 * 0.95) = 95th smallest; accepted at or above, so just over it.
    assert conformal_shift(excesses, names, 0.05) == pytest.approx(np.sort(excesses)[94])
    assert (excesses >= conformal_shift(excesses, names, 0.05)).sum() == 4


def test_the_shift_needs_speakers_not_calls() -> None:
    names = np.array([f"p{n % 10}" for n in range(1000)])
    with pytest.raises(ConfigError, match=r"10 impostor speakers.*at least 19"):
        conformal_shift(np.zeros(1000), names, 0.05)


def test_whole_calls_of_other_people_keep_the_promise() -> None:
    fitted, others = made_up(100, 3, seed=1), made_up(400, 3, seed=2)
    rule = rule_of(fitted, *folds(fitted), "obrien-fleming")
    assert rule is not None
    assert [b.target_far for b in rule.boundaries] == [0.01, 0.02, 0.05, 0.1]
    step = np.searchsorted(FROM_S, look_times() + 1e-6, side="right") - 1
    for boundary in rule.boundaries[1:]:
        ever = (others.llrs >= np.array(boundary.accept)[step]).any(axis=1)
        assert ever[~others.is_target].mean() <= 1.5 * boundary.target_far
        assert ever[others.is_target].mean() > 0.3


def test_one_threshold_for_each_single_look_would_break_it() -> None:
    """The reason for all this: the error at each look is 5 %, that of the call is not."""
    paths = made_up(200, 2, seed=3)
    strangers = paths.llrs[~paths.is_target]
    every_look = np.quantile(strangers, 0.95, axis=0)
    assert (strangers >= every_look).any(axis=1).mean() > 0.1
    accept, _ = shapes(paths, 0.05, SPENDINGS["obrien-fleming"])
    assert (in_steps(strangers) >= accept).any(axis=1).mean() <= 0.05 + 1e-9


def test_too_few_speakers_make_no_rule() -> None:
    paths = made_up(8, 2, seed=0)
    assert rule_of(paths, *folds(paths), "pocock") is None


def test_what_is_achieved_is_told_beside_what_one_look_would_need() -> None:
    paths = made_up(100, 3, seed=5)
    found = achieved("wideband", 0.05, *folds(paths), "obrien-fleming")
    assert found.impostor_speakers == found.target_speakers == 100
    assert found.far_ci[0] <= found.far <= 0.1
    rates = list(found.far_by_s.values())
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(found.far)
    assert found.accept_s is not None
    assert found.fixed_s is not None
    assert FROM_S[0] <= found.accept_s <= found.accept_s_90 <= UNTIL_S
    assert found.accept_s < found.fixed_s
