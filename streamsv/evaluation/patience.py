"""Does patience win? Strangers who go on talking for minutes.

Nobody is accepted after the last look of a rule, so a long call has no more chances than a short
one. Here that is measured rather than believed: the calls of `streamsv.evaluation.material` end
after twenty seconds, these go on for three minutes. No set has calls that long, so the test
recordings of one session of a speaker are joined and repeated from the first. Beside what the rule
does stands what would happen if it went on listening with its last boundary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.evaluation.material import voiceprint_of
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.stopping import LOOK_S
from streamsv.evaluation.streaming import format_of
from streamsv.evaluation.tracks import Recording, TrackReader
from streamsv.scoring.calibration import MIXED, Calibration
from streamsv.scoring.policy import DecisionConfig
from streamsv.scoring.rules import Boundary, StoppingRule

Floats = npt.NDArray[np.float64]

LENGTHS_S = (5.0, 10.0, 20.0, 60.0, 180.0)
"""Net speech after which the stranger hangs up."""

_REPEATS = 40


@dataclass(frozen=True, slots=True)
class Patience:
    """Strangers' calls of one channel at one promised rate; shares, people weighing the same.

    Fields
    ------
    calls, speakers: one call a stranger, each against all voices that the trials compare it with.
    far_by_s: accepted by calls that end after so much net speech, under the rule.
    listening_on_by_s: the same if its last boundary stayed in force to the end of the call.
    """

    channel: str
    promised_far: float
    calls: int
    speakers: int
    far_by_s: dict[str, float]
    listening_on_by_s: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


def long_calls(
    reader: TrackReader,
    sets: Sequence[EvaluationSet],
    calibration: Calibration,
    config: DecisionConfig | None = None,
    lengths_s: Sequence[float] = LENGTHS_S,
) -> tuple[Patience, ...]:
    """Let every stranger of ``sets`` talk up to the last of the rising ``lengths_s``, as recorded.

    Judged by the rules of ``calibration`` at the rates that ``config`` asks for; a channel that
    supports none is left out. Raises `UnsupportedAudio` for a file that cannot be read.
    """
    target_far = (config or DecisionConfig()).target_far
    found: dict[str, list[tuple[str, Floats, Floats]]] = {}
    for each in sets:
        for channel, speaker, enrolled_s, at_s, cosines in _calls(reader, each, lengths_s[-1]):
            if channel in calibration.rules:
                llrs = calibration.llr(cosines, at_s, channel, enrolled_s)
                found.setdefault(channel, []).append((f"{each.name}/{speaker}", at_s, llrs))
    rows = []
    for channel, calls in sorted(found.items()):
        rule = calibration.rules[channel]
        boundary = rule.supported(target_far.on(channel))
        if boundary is None:
            continue
        names = [name for name, _, _ in calls]
        crossed = [_crossed_s(at_s, llrs, rule, boundary) for _, at_s, llrs in calls]
        stops = np.array([first if first <= rule.until_s + 1e-6 else np.inf for first in crossed])
        rows.append(
            Patience(
                channel,
                boundary.target_far,
                len(calls),
                len(set(names)),
                {f"{length:g}": _share(names, stops <= length + 1e-6) for length in lengths_s},
                {
                    f"{length:g}": _share(names, np.array(crossed) <= length + 1e-6)
                    for length in lengths_s
                },
            )
        )
    return tuple(rows)


def _calls(
    reader: TrackReader, of: EvaluationSet, until_s: float
) -> Iterator[tuple[str, str, float, Floats, Floats]]:
    """Channel, who speaks, seconds enrolled, and times and cosines of the looks of each call."""
    own: dict[str, list[str]] = {}
    against: dict[str, set[tuple[str, ...]]] = {}
    for trial in of.trials:
        if not trial.is_target:
            speaker = of.streams[trial.test].speaker
            own.setdefault(speaker, []).append(trial.test)
            against.setdefault(speaker, set()).add(trial.enroll)
    calls = {}
    for speaker, tests in own.items():
        first = of.streams[tests[0]]
        audio = format_of(first.path)
        alike = [
            of.streams[name].path
            for name in dict.fromkeys(tests)
            if of.streams[name].session == first.session
            and format_of(of.streams[name].path) == audio
        ]
        calls[speaker] = Recording(tuple(alike * _REPEATS), None, until_s)
    enrolled = {name: Recording((of.streams[name].path,)) for t in of.trials for name in t.enroll}
    tracks = reader.read([*calls.values(), *enrolled.values()])
    for speaker, recording in calls.items():
        track = tracks[recording]
        for names in sorted(against[speaker]):
            parts = [tracks[enrolled[name]] for name in names]
            made = voiceprint_of(parts, None)
            if made is None or not track.hops:
                continue
            hops = np.arange(round(LOOK_S / track.hop_s) - 1, track.hops, LOOK_S / track.hop_s)
            hops = hops.astype(np.int64)
            cosines = (track.embeddings[hops] @ made[0]).astype(np.float64)
            same = len({track.channel, *(part.channel for part in parts)}) == 1
            channel = track.channel if same else MIXED
            yield channel, speaker, made[1], (hops + 1) * np.float64(track.hop_s), cosines


def _crossed_s(at_s: Floats, llrs: Floats, rule: StoppingRule, boundary: Boundary) -> float:
    """Net speech at the first look at or above the accept boundary; infinity for none."""
    step = np.searchsorted(rule.from_s, at_s + 1e-6, side="right") - 1
    bound = np.where(step < 0, np.inf, np.array(boundary.accept)[np.maximum(step, 0)])
    above = np.flatnonzero(llrs >= bound)
    return float(at_s[above[0]]) if len(above) else float("inf")


def _share(names: Sequence[str], holds: npt.NDArray[np.bool_]) -> float:
    """The share of calls for which it ``holds``, people weighing the same."""
    _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
    return float((holds / counts[place]).sum() / len(counts))
