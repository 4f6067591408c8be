"""From a few hundred trials to a calibration that does not claim more than they show.

A plain logistic fit is over-confident where data are few: sides that do not overlap give a slope
without bound, and each knot wanders for itself. Three things hold it back.

**The rule of succession.** That none of n people did something does not make it impossible; one
more might (Laplace; Brümmer's BOSARIS toolkit adds such trials before PAV, and Vergeer et al. 2016
bound LLRs by the same thought). So each side is given one more observation that looks like the
other side: as many dummy trials as an observation brings on average, spread over the quantiles of
the other side's scores. An observation is a person among targets, and a pair of people among
impostors: further trials of the same are not independent news. With p pairs and n people, LLRs
where the scores lie stay within about -ln(n + 1) and ln(p + 1), even for sides far apart.

**Slopes never fall with time.** More speech makes a cosine worth more, not less. Where a fitted
slope falls, neighboring knots are pooled, each weighing its number of target speakers (pool
adjacent violators), and the offset is fitted again for the slope.

**A knot with few people says nothing.** Below `LEAST_SPEAKERS` target speakers it takes slope and
offset from the knots beside it, linear in log t as everywhere between knots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamsv.errors import EvaluationSetError
from streamsv.scoring.calibration import Line
from streamsv.scoring.logistic import fit_logistic

Floats = npt.NDArray[np.float64]

LEAST_SPEAKERS = 5
LEAST_SLOPE = 0.1
"""The slope of "hardly any evidence", where the sides cannot be told apart this early."""


@dataclass(frozen=True, slots=True, eq=False)
class KnotTrials:
    """The trials of one channel when ``net_speech_s`` of each test had been heard.

    Fields
    ------
    cosines: float64, shape (trials,).
    enroll_speaker, test_speaker: one a trial; equal for targets.
    """

    net_speech_s: float
    cosines: Floats
    enroll_speaker: tuple[str, ...]
    test_speaker: tuple[str, ...]

    @property
    def is_target(self) -> npt.NDArray[np.bool_]:
        """Bool, shape (trials,)."""
        pairs = zip(self.enroll_speaker, self.test_speaker, strict=True)
        return np.array([enrolled == tested for enrolled, tested in pairs], dtype=np.bool_)

    @property
    def sides(self) -> tuple[Floats, Floats]:
        """The cosines of the targets and those of the impostors."""
        return self.cosines[self.is_target], self.cosines[~self.is_target]

    @property
    def target_speakers(self) -> int:
        """Different people with target trials."""
        return sum(len(pair) == 1 for pair in self._pairs())

    @property
    def impostor_pairs(self) -> int:
        """Different pairs of people with impostor trials."""
        return sum(len(pair) == 2 for pair in self._pairs())

    def is_fitted(self, least_speakers: int = LEAST_SPEAKERS) -> bool:
        """Whether there is enough to fit a line of its own."""
        return self.target_speakers >= least_speakers and self.impostor_pairs >= least_speakers

    def _pairs(self) -> set[frozenset[str]]:
        pairs = zip(self.enroll_speaker, self.test_speaker, strict=True)
        return {frozenset(pair) for pair in pairs}


def fit_line(
    channel: str, knots: Sequence[KnotTrials], least_speakers: int = LEAST_SPEAKERS
) -> Line:
    """Slope and offset of the LLR over the cosine at each of ``knots``, which rise in time.

    Raises `EvaluationSetError` when no knot has ``least_speakers`` target speakers, or when
    targets do not score above impostors even at the last one that has.
    """
    fitted = [knot for knot in knots if knot.is_fitted(least_speakers)]
    if not fitted:
        raise EvaluationSetError(
            f"channel {channel}: no knot has {least_speakers} speakers with target trials; "
            "calibrate on more people.",
            channel,
        )
    sides = [with_dummies(knot) for knot in fitted]
    free = [_free_slope(*side) for side in sides]
    slopes = rising(free, [knot.target_speakers for knot in fitted])
    if slopes[-1] <= 0:
        raise EvaluationSetError(
            f"channel {channel}: targets do not score above impostors (slope {slopes[-1]:.3g}), "
            "so there is nothing to calibrate. Check the labels and the model.",
            slopes[-1],
        )
    slopes = [max(slope, LEAST_SLOPE) for slope in slopes]
    offsets = [balanced_offset(slope, *side) for slope, side in zip(slopes, sides, strict=True)]
    at = np.log([knot.net_speech_s for knot in knots])
    known = np.log([knot.net_speech_s for knot in fitted])
    return Line(
        tuple(float(slope) for slope in np.interp(at, known, slopes)),
        tuple(float(offset) for offset in np.interp(at, known, offsets)),
    )


def with_dummies(knot: KnotTrials) -> tuple[Floats, Floats]:
    """The cosines of targets and impostors, each side with one observation of the other kind."""
    targets, impostors = knot.sides
    more_targets = -(-len(targets) // knot.target_speakers)
    more_impostors = -(-len(impostors) // knot.impostor_pairs)
    return (
        np.concatenate([targets, _spread(impostors, more_targets)]),
        np.concatenate([impostors, _spread(targets, more_impostors)]),
    )


def rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest sequence that never falls, by weighted squares: pool adjacent violators.

    >>> rising([1.0, 4.0, 2.0, 5.0], [1, 1, 3, 1])
    [1.0, 2.5, 2.5, 5.0]
    """
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            above, above_weight, above_count = pools.pop()
            below, below_weight, below_count = pools.pop()
            total = below_weight + above_weight
            mean = (below * below_weight + above * above_weight) / total
            pools.append((mean, total, below_count + above_count))
    return [value for value, _, count in pools for _ in range(count)]


def balanced_offset(slope: float, targets: Floats, impostors: Floats) -> float:
    """The offset that minimizes the Cllr of slope * cosine + offset on these trials.

    At the minimum the mean posterior doubt about targets equals the mean posterior belief in
    impostors, at even odds; their difference falls with the offset, so bisection finds it.
    """
    both = np.concatenate([targets, impostors]) * slope
    low, high = float(-both.max()) - 50.0, float(50.0 - both.min())
    while high - low > 1e-9:
        offset = (low + high) / 2
        doubt = _sigmoid(-(slope * targets + offset)).mean()
        belief = _sigmoid(slope * impostors + offset).mean()
        if doubt > belief:
            low = offset
        else:
            high = offset
    return (low + high) / 2


def _free_slope(targets: Floats, impostors: Floats) -> float:
    scores = np.concatenate([targets, impostors])
    return fit_logistic(scores, np.arange(len(scores)) < len(targets))[0]


def _spread(scores: Floats, count: int) -> Floats:
    """``count`` scores that are distributed as ``scores`` are."""
    return np.asarray(np.quantile(scores, (np.arange(count) + 0.5) / count), dtype=np.float64)


def _sigmoid(odds: Floats) -> Floats:
    values: Floats = np.exp(-np.logaddexp(0.0, -odds))
    return values
