"""Fitting when another voice is noticed, on paths of scores that were made up."""

from __future__ import annotations

import numpy as np

from training.takeover import Heard, cross_validated, fitted_rule, judged

HOP_S = 0.08


def path(
    speaker: str, own: float, other: float | None = None, lowest: float | None = None
) -> Heard:
    """A look every half second for 90 s; another voice from 60 s on, or one low look at 30 s."""
    hops = np.arange(120, 120 + 180 * 6, 6)
    likeness = np.full(len(hops), own)
    change = None
    if other is not None:
        change = 60 / HOP_S
        likeness[hops > change + 60] = other
    if lowest is not None:
        likeness[60] = lowest
    looks = np.maximum(np.arange(len(hops)) - 9, 0).astype(np.float64)
    return Heard(f"set/{speaker}", hops, likeness, looks * own, looks, change, int(hops[-1]))


def test_the_threshold_lets_through_as_many_false_alarms_as_are_allowed() -> None:
    paths = [path(f"s{n}", 0.8, lowest=0.3 + n / 100) for n in range(80)]
    hours = sum(each.length for each in paths) * HOP_S / 3600
    for an_hour in (1.0, 3.0):
        rule = fitted_rule(paths, an_hour, HOP_S)
        assert judged(paths, rule, HOP_S)["alarms"] == int(an_hour * hours)


def test_a_voice_that_is_less_alike_to_itself_is_not_taken_for_another() -> None:
    # One at 0.9 falls to 0.5, below which another always is: no one threshold serves both.
    paths = [path(f"a{n}", 0.9, other=0.5) for n in range(40)]
    paths += [path(f"b{n}", 0.5, other=0.1) for n in range(40)]
    plain = fitted_rule(paths, 1.0, HOP_S, own_share=0.0)
    relative = fitted_rule(paths, 1.0, HOP_S, own_share=0.9)
    assert judged(paths, plain, HOP_S)["missed"] == 40
    assert judged(paths, relative, HOP_S)["missed"] == 0


def test_the_report_is_of_people_whom_the_threshold_did_not_know() -> None:
    paths = [path(f"s{n}", 0.8, other=0.2) for n in range(20)]
    report = cross_validated(paths, 1.0, HOP_S)
    assert report["all"]["changes"] == 20
    assert report["all"]["missed"] == 0
    assert report["set"] == report["all"]
    assert report["all"]["delay_s"]["p50"] > 4.8
