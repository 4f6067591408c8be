"""From a few hundred trials to curves of evidence that do not claim more than they show.

One logistic regression for all channels, with few parameters, because what must hold is a set that
nobody has seen. The slope and the offset of the LLR over the cosine are each

    p + q h(t; 2 s) + r h(e; 4 s),   h(x; k) = x / (x + k)

in the net speech heard (t) and enrolled (e): they saturate, since frames of one session are not
independent (a session's own offset stays, however long it lasts). Each channel has parameters of
its own that a ridge pulls towards those that all channels share.

**Sets weigh the same**, whatever their number of trials: a set in which everybody is enrolled and
tested on one day, where true speakers score higher, does not outvote those with other days.

**The rule of succession.** That none of n people did something does not make it impossible
(Laplace; Brümmer's BOSARIS toolkit adds such trials before PAV). Each trial also counts with a
weight of one in n for the other side, n being the people among targets and the pairs of people
among impostors of its channel. So sides that do not overlap give no slope without bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.errors import EvaluationSetError
from streamsv.scoring.calibration import USUAL_ENROLLED_S, Calibration, Line
from streamsv.scoring.logistic import fit_weighted

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

KNOTS_S = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0)
ENROLLED_KNOTS_S = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0)
LEAST_SPEAKERS = 5
LEAST_SLOPE = 0.1
"""The slope of "hardly any evidence", where the sides cannot be told apart this early."""

_HEARD_HALF_S = 2.0
_ENROLLED_HALF_S = 4.0
_RIDGE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class TrialTable:
    """Trials at several amounts of speech, a row each.

    Fields
    ------
    cosine, heard_s, enrolled_s: float64, shape (rows,).
    channel: str, shape (rows,).
    group: str or int64, shape (rows,); rows of one group, at one ``heard_s``, make one opinion.
    enroll_speaker, test_speaker: str, shape (rows,); equal for targets.
    """

    cosine: Floats
    heard_s: Floats
    enrolled_s: Floats
    channel: npt.NDArray[np.str_]
    group: npt.NDArray[Any]
    enroll_speaker: npt.NDArray[np.str_]
    test_speaker: npt.NDArray[np.str_]

    @property
    def is_target(self) -> Bools:
        """Bool, shape (rows,)."""
        return np.asarray(self.enroll_speaker == self.test_speaker, dtype=np.bool_)

    def only(self, rows: Bools) -> TrialTable:
        """The rows where ``rows`` (rows,) is true."""
        return TrialTable(
            *(
                getattr(self, name)[rows]
                for name in (
                    *("cosine", "heard_s", "enrolled_s", "channel"),
                    *("group", "enroll_speaker", "test_speaker"),
                )
            )
        )

    def people(self) -> tuple[int, int]:
        """Different people with target trials, and different pairs with impostor trials."""
        pairs = set(zip(self.enroll_speaker.tolist(), self.test_speaker.tolist(), strict=True))
        targets = {a for a, b in pairs if a == b}
        return len(targets), len({frozenset(pair) for pair in pairs if pair[0] != pair[1]})


def fit_lines(table: TrialTable, least_speakers: int = LEAST_SPEAKERS) -> dict[str, Line]:
    """The line of each channel that occurs in ``table``, at `KNOTS_S` and `ENROLLED_KNOTS_S`.

    Raises `EvaluationSetError` when a channel has fewer than ``least_speakers`` target speakers or
    impostor pairs, or when its targets do not score above its impostors.
    """
    channels = sorted(set(table.channel.tolist()))
    if not channels:
        raise EvaluationSetError("No trial of any set could be scored; there is nothing to fit.")
    flips = np.zeros(len(table.cosine))
    for channel in channels:
        here = table.channel == channel
        people, pairs = table.only(here).people()
        if min(people, pairs) < least_speakers:
            raise EvaluationSetError(
                f"channel {channel}: target trials of {people} speakers and impostor trials of "
                f"{pairs} pairs; at least {least_speakers} of each are needed. Calibrate on more "
                "people.",
                channel,
            )
        flips[here] = np.where(table.is_target[here], 1 / people, 1 / pairs)
    design, penalty = _design(table, channels)
    weights = _weights(table)
    labels = table.is_target
    coefficients = fit_weighted(design, labels, weights, penalty, weights * flips)
    return {
        channel: _line(channel, coefficients, number, len(channels))
        for number, channel in enumerate(channels)
    }


def _bases(heard_s: Floats, enrolled_s: Floats) -> Floats:
    heard = heard_s / (heard_s + _HEARD_HALF_S)
    enrolled = enrolled_s / (enrolled_s + _ENROLLED_HALF_S)
    return np.stack([np.ones_like(heard), heard, enrolled], axis=1)


def _design(table: TrialTable, channels: Sequence[str]) -> tuple[Floats, Floats]:
    bases = _bases(table.heard_s, table.enrolled_s)
    shared = np.concatenate([bases * table.cosine[:, None], bases], axis=1)
    own = [shared * (table.channel == channel)[:, None] for channel in channels]
    # Cosines lie within about a quarter of 1, so their coefficients are four times as large.
    scale = np.repeat([0.25, 1.0], 3)
    penalty = np.concatenate([1e-4 * scale, *([_RIDGE * scale] * len(channels))])
    return np.concatenate([shared, *own], axis=1), penalty


def _weights(table: TrialTable) -> Floats:
    """Each side of each group weighs the same at each amount of speech; channels weigh 1."""
    keys = np.char.add(
        np.char.add(np.char.add(table.group, "|"), table.channel),
        np.char.add(table.heard_s.astype(np.str_), np.where(table.is_target, "+", "-")),
    )
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[place]
    for channel in set(table.channel.tolist()):
        here = table.channel == channel
        weights[here] /= weights[here].sum()
    return np.asarray(weights, dtype=np.float64)


def _line(channel: str, coefficients: Floats, number: int, channels: int) -> Line:
    of = coefficients.reshape(channels + 1, 2, 3)
    slope_of, offset_of = of[0] + of[number + 1]
    heard = _bases(np.array(KNOTS_S), np.full(len(KNOTS_S), USUAL_ENROLLED_S))
    enrolled_s = np.array(ENROLLED_KNOTS_S)
    usual = _bases(np.ones(1), np.array([USUAL_ENROLLED_S]))[0, 2]
    enrolled = _bases(np.ones(len(enrolled_s)), enrolled_s)[:, 2] - usual
    slopes = heard @ slope_of
    if slopes[-1] <= 0:
        raise EvaluationSetError(
            f"channel {channel}: targets do not score above impostors (slope {slopes[-1]:.3g}), so "
            "there is nothing to calibrate. Check the labels and the model.",
            float(slopes[-1]),
        )
    # More speech makes a cosine worth more, not less, and a short enrollment cannot turn it round.
    slopes = np.maximum.accumulate(np.maximum(slopes, LEAST_SLOPE))
    more = np.maximum(enrolled * slope_of[2], LEAST_SLOPE - slopes[0])
    values = slopes, heard @ offset_of, more, enrolled * offset_of[2]
    return Line(*(tuple(round(float(x), 6) for x in each) for each in values))


def llrs(lines: Mapping[str, Line], table: TrialTable) -> Floats:
    """The LLR of each row: float64, shape (rows,)."""
    calibration = Calibration("fitting", KNOTS_S, lines, enrolled_knots_s=ENROLLED_KNOTS_S)
    found = np.empty(len(table.cosine))
    for channel in lines:
        here = table.channel == channel
        found[here] = calibration.llr(
            table.cosine[here], table.heard_s[here], channel, table.enrolled_s[here]
        )
    return found
