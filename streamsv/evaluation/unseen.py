"""What is to be expected on recordings of another kind: each set is left out in turn.

People left out of a fit (`streamsv.evaluation.achieved`) still speak on the devices, in the rooms
and from the texts of people who were fitted on. Somebody's own calls share none of that with the
sets at hand. So evidence and rules are fitted on all sets but one and judge that one, as it was
recorded and through the telephone; then the sets, each judged while it was left out, are pooled by
channel. The sets are few, and each is one kind of recording: read this as a handful of samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.errors import EvaluationSetError
from streamsv.evaluation.achieved import Crossed, crossed, joined, rates_of
from streamsv.evaluation.evidence import TrialTable, llrs
from streamsv.evaluation.fit import fit_evidence, fit_rules, paths_of
from streamsv.evaluation.material import Material
from streamsv.scoring.calibration import Line
from streamsv.scoring.metrics import cllr, eer, min_cllr

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

POOLED = "pooled"


@dataclass(frozen=True, slots=True)
class UnseenEvidence:
    """The evidence on one set that was left out, or on several ``pooled``.

    Fields
    ------
    net_speech_s: seconds of the test heard; None for whole streams. Enrollments are whole.
    targets, impostors: trials.
    eer: a fraction, of the LLR. cllr, min_cllr: bits.
    """

    set: str
    channel: str
    net_speech_s: float | None
    targets: int
    impostors: int
    eer: float
    cllr: float
    min_cllr: float


@dataclass(frozen=True, slots=True)
class UnseenCalls:
    """Whole calls of one set that was left out, or of several ``pooled``.

    Fields
    ------
    promised_far, far, far_ci: of whole calls, fractions; people weigh the same, 95 % over them.
    impostor_speakers, target_speakers: people.
    accepted, rejected: shares of true speakers' calls.
    accept_s: median net speech of these accepts.
    """

    set: str
    channel: str
    promised_far: float
    far: float
    far_ci: tuple[float, float]
    impostor_speakers: int
    target_speakers: int
    accepted: float
    rejected: float
    accept_s: float | None


@dataclass(frozen=True, slots=True)
class Unseen:
    """Both, by set and channel, pooled ones last."""

    evidence: tuple[UnseenEvidence, ...]
    calls: tuple[UnseenCalls, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            "evidence": [asdict(each) for each in self.evidence],
            "calls": [{**asdict(each), "far_ci": list(each.far_ci)} for each in self.calls],
        }


def left_out(material: Material, spending: str = "pocock") -> Unseen:
    """Leave out each set of ``material`` in turn.

    A channel that no other set has is not judged. Raises `EvaluationSetError` for fewer than two
    sets, or when the others are too few to fit.
    """
    speakers = set(material.trials.enroll_speaker.tolist())
    names = sorted({speaker.split("/")[0] for speaker in speakers})
    if len(names) < 2:
        raise EvaluationSetError(
            f"There are {len(names)} sets; leaving one out takes at least two.", len(names)
        )
    judged: dict[tuple[str, str, float | None], tuple[TrialTable, Floats]] = {}
    ended: dict[tuple[str, str, float], Crossed] = {}
    for name in names:
        others = _without(material, name)
        lines = fit_evidence(others)
        for point, table in material.points.items():
            for channel, here in _channels(table, name, lines):
                judged[name, channel, point] = here, llrs(lines, here)
        rules = fit_rules(others, lines, spending)
        for channel, here in _channels(material.calls, name, lines):
            if channel in rules:
                paths = paths_of(here, lines)
                for boundary in rules[channel].boundaries:
                    ended[name, channel, boundary.target_far] = crossed(
                        paths, np.array(boundary.accept), np.array(boundary.reject)
                    )
    evidence = [_evidence(*key, [of]) for key, of in judged.items()]
    calls = [_calls(*key, [of]) for key, of in ended.items()]
    channels = sorted({channel for _, channel, _ in judged})
    for channel in channels:
        for point in material.points:
            parts = [judged[n, channel, point] for n in names if (n, channel, point) in judged]
            if len(parts) > 1:
                evidence.append(_evidence(POOLED, channel, point, parts))
        of_sets = [name for name in names if any(key[:2] == (name, channel) for key in ended)]
        for rate in sorted({rate for _, where, rate in ended if where == channel}):
            # A rate that one of the fits could not support is not pooled: it would be another pool.
            if len(of_sets) > 1 and all((n, channel, rate) in ended for n in of_sets):
                together = [ended[n, channel, rate] for n in of_sets]
                calls.append(_calls(POOLED, channel, rate, together))
    return Unseen(tuple(each for each in evidence if each is not None), tuple(calls))


def _is_of(table: TrialTable, name: str) -> Bools:
    return np.asarray(np.char.startswith(table.enroll_speaker, f"{name}/"), dtype=np.bool_)


def _without(material: Material, name: str) -> Material:
    return Material(
        material.trials.only(~_is_of(material.trials, name)),
        material.calls.only(~_is_of(material.calls, name)),
        {point: of.only(~_is_of(of, name)) for point, of in material.points.items()},
        tuple(each for each in material.heard if each["set"] != name),
    )


def _channels(
    table: TrialTable, name: str, lines: Mapping[str, Line]
) -> Iterator[tuple[str, TrialTable]]:
    of_set = table.only(_is_of(table, name))
    for channel in sorted(set(of_set.channel.tolist()) & set(lines)):
        yield channel, of_set.only(of_set.channel == channel)


def _evidence(
    name: str, channel: str, point: float | None, parts: Sequence[tuple[TrialTable, Floats]]
) -> UnseenEvidence | None:
    found = np.concatenate([each for _, each in parts])
    is_target = np.concatenate([table.is_target for table, _ in parts])
    targets, impostors = found[is_target], found[~is_target]
    if not len(targets) or not len(impostors):
        return None
    return UnseenEvidence(
        name,
        channel,
        point,
        len(targets),
        len(impostors),
        eer(targets, impostors),
        cllr(targets, impostors),
        min_cllr(targets, impostors),
    )


def _calls(name: str, channel: str, promised: float, parts: Sequence[Crossed]) -> UnseenCalls:
    together = joined(parts)
    rates = rates_of(together)
    return UnseenCalls(
        name,
        channel,
        promised,
        rates.far,
        rates.far_ci,
        rates.impostor_speakers,
        rates.target_speakers,
        rates.accepted,
        rates.rejected,
        rates.accept_s,
    )
