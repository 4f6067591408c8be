"""Fitting when to stop, so that the error of whole calls is what was asked for.

**Boundaries by empirical alpha spending** (Lan and DeMets 1983, with the calls at hand in place of
independent increments): net speech is cut into steps; by the end of each, a share alpha(f) of the
error may be spent, f being the information so far. In each step the boundary is the lowest LLR
that only the allowed share of calls still alive ever exceeds at any look in it.

**Checked by the conformal path maximum.** For each impostor call, M = max over its looks of (LLR -
boundary); the whole boundary is then moved so that it holds for one more call like these (Vovk,
Gammerman and Shafer 2005). The unit is the *impostor speaker*: calls of one person are not
independent, so the people's empirical distributions of M are averaged, and one more person counts
as infinity (hierarchical conformal prediction: Lee, Barber and Willett 2023). M comes from people
that took no part in their own boundary: they are cut into folds, and evidence and boundaries for
each fold are fitted on the others. Enrolled speakers are shared among impostors, which this does
not cover. No reject boundary takes part, so whoever ignores rejections keeps the promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from streamsv.errors import ConfigError
from streamsv.scoring.rules import RATES, Boundary, StoppingRule, speakers_needed

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Spending = Callable[[float, float], float]

LOOK_S = 0.24
FROM_S = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0)
UNTIL_S = 20.0
FOLDS = 5
_BEYOND = 0.7
"""How far above the highest LLR seen a boundary lies that may not be crossed at all (ln 2)."""


def obrien_fleming(alpha: float, fraction: float) -> float:
    """Error spent at an information ``fraction``: hardly any early (Lan and DeMets 1983).

    >>> round(obrien_fleming(0.05, 0.5), 5), obrien_fleming(0.05, 1.0)
    (0.00557, 0.05)
    """
    if fraction >= 1:
        return alpha
    normal = NormalDist()
    return 2 - 2 * normal.cdf(normal.inv_cdf(1 - alpha / 2) / math.sqrt(max(fraction, 1e-9)))


def pocock(alpha: float, fraction: float) -> float:
    """Error spent evenly in the manner of Pocock: alpha ln(1 + (e - 1) f)."""
    return alpha * math.log(1 + (math.e - 1) * min(fraction, 1.0))


def linear(alpha: float, fraction: float) -> float:
    """Error spent in proportion to the information."""
    return alpha * min(fraction, 1.0)


SPENDINGS: dict[str, Spending] = {
    "obrien-fleming": obrien_fleming,
    "pocock": pocock,
    "linear": linear,
}


@dataclass(frozen=True, slots=True, eq=False)
class CallPaths:
    """The LLR of calls at each look, a call a row.

    Fields
    ------
    llrs: float64, shape (calls, looks); NaN after the end of a call.
    is_target: bool, shape (calls,).
    speaker: str, shape (calls,): who speaks.
    """

    llrs: Floats
    is_target: Bools
    speaker: npt.NDArray[np.str_]

    def only(self, calls: Bools) -> CallPaths:
        """The calls where ``calls`` (calls,) is true."""
        return CallPaths(self.llrs[calls], self.is_target[calls], self.speaker[calls])


def look_times() -> Floats:
    """Seconds of net speech of the looks, on the grid of `LOOK_S`."""
    first = math.ceil(FROM_S[0] / LOOK_S - 1e-6)
    numbers = np.arange(first, int(UNTIL_S / LOOK_S + 1e-6) + 1, dtype=np.float64)
    return numbers * np.float64(LOOK_S)


def spending_of(name: str) -> Spending:
    """The spending function of that name. Raises `ConfigError` for another."""
    if name not in SPENDINGS:
        raise ConfigError(f"spending is {name!r}; allowed are {', '.join(SPENDINGS)}.", name)
    return SPENDINGS[name]


def information(paths: CallPaths) -> Floats:
    """The share of all information at the end of each step, rising to 1.

    Information is S = (difference of the means)^2 / variance of the LLRs at a time; 1 / S = p +
    q / t is fitted by least squares, with p and q not below 0 (a session's offset and white noise).
    """
    times, inverse = [], []
    looks = look_times()
    for column, time in enumerate(looks):
        llrs = paths.llrs[:, column]
        heard = np.isfinite(llrs)
        targets, impostors = llrs[heard & paths.is_target], llrs[heard & ~paths.is_target]
        if min(len(targets), len(impostors)) >= 10:
            gap = targets.mean() - impostors.mean()
            times.append(time)
            inverse.append((targets.var() + impostors.var()) / 2 / max(gap, 1e-3) ** 2)
    ends = np.array([*FROM_S[1:], UNTIL_S], dtype=np.float64)
    if len(times) < 2:
        by_time: Floats = ends / UNTIL_S
        return by_time
    design = np.stack([np.ones(len(times)), 1 / np.array(times)], axis=1)
    p, q = np.linalg.lstsq(design, np.array(inverse), rcond=None)[0]
    p, q = max(float(p), 0.0), max(float(q), 1e-6)
    return np.asarray((p + q / UNTIL_S) / (p + q / ends), dtype=np.float64)


def spend(highest: Floats, speaker: npt.NDArray[np.str_], budgets: Floats) -> Floats:
    """The boundary of each step, (steps,), never rising.

    ``highest`` (calls, steps) is the highest score of each call in each step, NaN for none; people
    weigh the same. ``budgets`` (steps,) is the share of calls that may have crossed by each end.
    """
    _, place, counts = np.unique(speaker, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[place] / len(counts)
    alive = np.ones(len(highest), dtype=np.bool_)
    spent = 0.0
    found: list[float] = []
    for step, budget in enumerate(budgets):
        column = np.where(alive & np.isfinite(highest[:, step]), highest[:, step], -np.inf)
        order = np.argsort(-column, kind="stable")
        order = order[np.isfinite(column[order])]
        if not len(order):
            found.append(found[-1] if found else 0.0)
            continue
        running = np.cumsum(weights[order])
        crossing = int(np.searchsorted(running, budget - spent + 1e-12, side="right"))
        if crossing == 0:
            bound = float(column[order[0]]) + _BEYOND
        elif crossing == len(order):
            bound = float(column[order[-1]])
        else:
            bound = float(column[order[crossing - 1]] + column[order[crossing]]) / 2
        found.append(bound)
        crossed = column >= bound
        spent += float(weights[crossed].sum())
        alive &= ~crossed
    return np.asarray(np.maximum.accumulate(found[::-1])[::-1], dtype=np.float64)


def in_steps(llrs: Floats, pick: Callable[..., Floats] = np.fmax.reduce) -> Floats:
    """The highest (or whatever ``pick`` picks) of each call in each step: (calls, steps)."""
    step = np.searchsorted(FROM_S, look_times() + 1e-6, side="right") - 1
    return np.stack([pick(llrs[:, step == j], axis=1) for j in range(len(FROM_S))], axis=1)


def shapes(paths: CallPaths, alpha: float, spending: Spending) -> tuple[Floats, Floats]:
    """The accept and the reject boundary before the check, each (steps,).

    Rejections spend the same share of true speakers in the same way.
    """
    budgets = np.array([spending(alpha, float(share)) for share in information(paths)])
    strangers, own = paths.only(~paths.is_target), paths.only(paths.is_target)
    accept = spend(in_steps(strangers.llrs), strangers.speaker, budgets)
    reject = -spend(in_steps(-own.llrs), own.speaker, budgets)
    return accept, np.minimum(reject, accept - 0.1)


def excess(paths: CallPaths, accept: Floats) -> Floats:
    """M of each call, (calls,): by how much its path exceeds the boundary at most."""
    return np.asarray(np.fmax.reduce(in_steps(paths.llrs) - accept, axis=1), dtype=np.float64)


def conformal_shift(excesses: Floats, speaker: npt.NDArray[np.str_], alpha: float) -> float:
    """How far the boundary must move so that one more speaker crosses with at most ``alpha``.

    Raises `ConfigError` when there are too few speakers for it.
    """
    names, place, counts = np.unique(speaker, return_inverse=True, return_counts=True)
    if len(names) < speakers_needed(alpha):
        raise ConfigError(
            f"{len(names)} impostor speakers support no false-accept rate of {alpha:g}; it takes "
            f"at least {speakers_needed(alpha)}.",
            alpha,
        )
    weights = 1.0 / counts[place] / (len(names) + 1)
    order = np.argsort(-excesses, kind="stable")
    may_cross = alpha - 1 / (len(names) + 1)
    # Strictly above the shift: what is allowed; a call that only touches the boundary is accepted,
    # hence the smallest number above.
    crossing = int(np.searchsorted(np.cumsum(weights[order]), may_cross + 1e-12, side="right"))
    if crossing >= len(order):
        return float(excesses[order[-1]])
    return float(np.nextafter(excesses[order[crossing]], np.inf))


def rule_of(
    paths: CallPaths, out_of_fold: list[CallPaths], in_fold: list[CallPaths], spending: str
) -> StoppingRule | None:
    """The rule for every rate of `RATES` that the people support; None if they support none.

    ``paths`` are all calls, judged by evidence fitted on all; ``out_of_fold[i]`` the calls of fold
    i and ``in_fold[i]`` all others, both judged by evidence fitted without the people of fold i.
    """
    by = spending_of(spending)
    people = len(np.unique(paths.speaker[~paths.is_target]))
    boundaries = []
    for alpha in RATES:
        if people < speakers_needed(alpha):
            continue
        accept, reject = shapes(paths, alpha, by)
        moved = shift_of(out_of_fold, in_fold, alpha, by)
        accept = accept + moved
        boundaries.append(
            Boundary(alpha, _rounded(accept), _rounded(np.minimum(reject, accept - 0.1)))
        )
    if not boundaries:
        return None
    return StoppingRule(LOOK_S, FROM_S, UNTIL_S, people, tuple(boundaries))


def shift_of(
    out_of_fold: list[CallPaths], in_fold: list[CallPaths], alpha: float, spending: Spending
) -> float:
    """`conformal_shift` of M over all folds, each against the boundary of the others."""
    found, speakers = [], []
    for held, rest in zip(out_of_fold, in_fold, strict=True):
        accept, _ = shapes(rest, alpha, spending)
        strangers = held.only(~held.is_target)
        found.append(excess(strangers, accept))
        speakers.append(strangers.speaker)
    return conformal_shift(np.concatenate(found), np.concatenate(speakers), alpha)


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
