"""What a stopping rule achieves on calls of people that took no part in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.evaluation.stopping import (
    FROM_S,
    CallPaths,
    conformal_shift,
    excess,
    look_times,
    shapes,
    spending_of,
)

Floats = npt.NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Achieved:
    """Promised and achieved on one channel; rates are fractions, people weigh the same.

    Fields
    ------
    promised_far, far, far_ci: of whole calls; the interval is over impostor speakers.
    far_by_s: the same for calls that end after so much net speech: does patience win?
    impostor_speakers, target_speakers: people, each heard by a rule fitted without them.
    accepted, rejected: shares of true speakers' calls.
    impostors_rejected: share of impostors' calls.
    accept_s, accept_s_90: median and 90 % point of the net speech to accept a true speaker, among
        the accepted.
    reject_s: median net speech to reject an impostor, among the rejected.
    fixed_s: net speech at which a single look, at a threshold with the same false-accept rate on
        these calls, first accepts as many true speakers; None if it never does.
    """

    channel: str
    promised_far: float
    far: float
    far_ci: tuple[float, float]
    far_by_s: dict[str, float]
    impostor_speakers: int
    target_speakers: int
    accepted: float
    rejected: float
    impostors_rejected: float
    accept_s: float | None
    accept_s_90: float | None
    reject_s: float | None
    fixed_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {**asdict(self), "far_ci": list(self.far_ci)}


def achieved(
    channel: str, alpha: float, held: list[CallPaths], rest: list[CallPaths], spending: str
) -> Achieved:
    """Judge the calls of each fold (``held``) by a rule made of the other folds (``rest``).

    Boundaries are fitted on the others, and moved by the path maxima of the others' folds.
    """
    by = spending_of(spending)
    made = [shapes(others, alpha, by) for others in rest]
    strangers = [fold.only(~fold.is_target) for fold in held]
    excesses = [excess(fold, accept) for fold, (accept, _) in zip(strangers, made, strict=True)]
    llrs, accept_at, reject_at, is_target, speaker = [], [], [], [], []
    step = np.searchsorted(FROM_S, look_times() + 1e-6, side="right") - 1
    for number, fold in enumerate(held):
        others = [i for i in range(len(held)) if i != number and len(strangers[i].speaker)]
        names = np.concatenate([strangers[i].speaker for i in others])
        # A fold less may be too few people for the rate; then the bound of those there are.
        least = max(alpha, 1 / (len(np.unique(names)) + 1))
        moved = conformal_shift(np.concatenate([excesses[i] for i in others]), names, least)
        accept, reject = made[number][0] + moved, made[number][1]
        llrs.append(fold.llrs)
        accept_at.append(np.broadcast_to(accept[step], fold.llrs.shape))
        reject = np.minimum(reject, accept - 0.1)
        reject_at.append(np.broadcast_to(reject[step], fold.llrs.shape))
        is_target.append(fold.is_target)
        speaker.append(fold.speaker)
    paths = CallPaths(np.concatenate(llrs), np.concatenate(is_target), np.concatenate(speaker))
    ended = _crossed_at(paths, np.concatenate(accept_at), np.concatenate(reject_at))
    rates = rates_of(ended)
    impostors = ~paths.is_target
    weights = _equal_people(ended)
    return Achieved(
        channel=channel,
        promised_far=alpha,
        far=rates.far,
        far_ci=rates.far_ci,
        far_by_s={
            f"{until:g}": float(weights[impostors] @ (ended.up[impostors] <= until))
            for until in (3.0, 5.0, 10.0, 20.0)
        },
        impostor_speakers=rates.impostor_speakers,
        target_speakers=rates.target_speakers,
        accepted=rates.accepted,
        rejected=rates.rejected,
        impostors_rejected=float(weights[impostors] @ (ended.down < ended.up)[impostors]),
        accept_s=rates.accept_s,
        accept_s_90=rates.accept_s_90,
        reject_s=_quantile(ended.down[impostors & (ended.down < ended.up)], 0.5),
        fixed_s=_fixed(paths, weights, rates.far, rates.accepted),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Crossed:
    """When calls crossed their boundaries, all of shape (calls,).

    Fields
    ------
    up, down: float64, net speech at the first look that accepts, that rejects; infinity for none.
    is_target: bool. speaker: str, who speaks.
    """

    up: Floats
    down: Floats
    is_target: npt.NDArray[np.bool_]
    speaker: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Rates:
    """What a rule did to calls; the fields are those of `Achieved`."""

    far: float
    far_ci: tuple[float, float]
    impostor_speakers: int
    target_speakers: int
    accepted: float
    rejected: float
    accept_s: float | None
    accept_s_90: float | None


def crossed(paths: CallPaths, accept: Floats, reject: Floats) -> Crossed:
    """When ``paths`` cross the boundaries ``accept`` and ``reject``, each (steps,)."""
    step = np.searchsorted(FROM_S, look_times() + 1e-6, side="right") - 1
    return _crossed_at(paths, accept[step], reject[step])


def _crossed_at(paths: CallPaths, accept: Floats, reject: Floats) -> Crossed:
    up, down = _first(paths.llrs >= accept), _first(paths.llrs <= reject)
    return Crossed(up, down, paths.is_target, paths.speaker)


def joined(parts: Sequence[Crossed]) -> Crossed:
    """The calls of several as one."""
    return Crossed(
        np.concatenate([part.up for part in parts]),
        np.concatenate([part.down for part in parts]),
        np.concatenate([part.is_target for part in parts]),
        np.concatenate([part.speaker for part in parts]),
    )


def rates_of(ended: Crossed) -> Rates:
    """The rates, people weighing the same."""
    targets, impostors = ended.is_target, ~ended.is_target
    weights = _equal_people(ended)
    accepted, rejected = ended.up < ended.down, ended.down < ended.up
    # As promised: also those count whom a reject boundary would have stopped before.
    ever = np.isfinite(ended.up)
    times = ended.up[targets & accepted]
    return Rates(
        far=float(weights[impostors] @ ever[impostors]),
        far_ci=_interval(ever[impostors], ended.speaker[impostors]),
        impostor_speakers=len(np.unique(ended.speaker[impostors])),
        target_speakers=len(np.unique(ended.speaker[targets])),
        accepted=float(weights[targets] @ accepted[targets]),
        rejected=float(weights[targets] @ rejected[targets]),
        accept_s=_quantile(times, 0.5),
        accept_s_90=_quantile(times, 0.9),
    )


def _first(crossed: npt.NDArray[np.bool_]) -> Floats:
    """The net speech at the first look that crossed, infinity for none: (calls,)."""
    looks = look_times()
    return np.where(crossed.any(axis=1), looks[np.argmax(crossed, axis=1)], np.inf)


def _equal_people(paths: Crossed) -> Floats:
    """Weights of calls that sum to 1 over targets and over impostors, people weighing the same."""
    weights = np.empty(len(paths.speaker))
    for side in (paths.is_target, ~paths.is_target):
        _, place, counts = np.unique(paths.speaker[side], return_inverse=True, return_counts=True)
        weights[side] = 1.0 / counts[place] / max(len(counts), 1)
    return weights


def _fixed(paths: CallPaths, weights: Floats, far: float, accepted: float) -> float | None:
    """The shortest single look with no more false accepts that accepts as many true speakers.

    Calls that have ended by then are judged by their last score.
    """
    looks = look_times()
    columns = np.arange(len(looks))
    last = np.maximum.accumulate(np.where(np.isfinite(paths.llrs), columns, 0), axis=1)
    llrs = np.take_along_axis(paths.llrs, last, axis=1)
    targets = paths.is_target
    for column, time in enumerate(looks):
        strangers = llrs[~targets, column]
        order = np.argsort(-strangers, kind="stable")
        running = np.cumsum(weights[~targets][order])
        crossing = int(np.searchsorted(running, far + 1e-12, side="right"))
        bound = -np.inf if crossing >= len(order) else strangers[order[crossing]]
        if weights[targets] @ (llrs[targets, column] > bound) >= accepted - 1e-12:
            return float(time)
    return None


def _interval(
    is_accepted: npt.NDArray[np.bool_], speaker: npt.NDArray[np.str_]
) -> tuple[float, float]:
    """95 % over resampled speakers; with none accepted, up to 3 in so many (rule of three)."""
    names, place, counts = np.unique(speaker, return_inverse=True, return_counts=True)
    if not len(names):
        return 0.0, 1.0
    rates = np.bincount(place, weights=is_accepted) / counts
    if not rates.any():
        return 0.0, min(1.0, 3.0 / len(names))
    draw = np.random.default_rng(0)
    means = rates[draw.integers(0, len(names), (_RESAMPLES, len(names)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _quantile(times: Floats, share: float) -> float | None:
    return float(np.quantile(times, share)) if len(times) else None
