"""What is measured of scored trials and of the verdicts of whole calls, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.events import Verdict
from streamsv.scoring.intervals import (
    Metric,
    Weighted,
    resampled_interval,
    speaker_intervals,
    weighted_share,
)
from streamsv.scoring.metrics import act_dcf, cllr, eer, frr_at_far, min_cllr, min_dcf

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Interval = tuple[float, float]

P_TARGET = 0.01
"""The prior of ``min_dcf`` and ``act_dcf``; a miss and a false accept cost 1 each."""

FARS = {"frr_at_far_1_percent": 0.01, "frr_at_far_0_1_percent": 0.001}


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """Scored trials, all arrays of shape (trials,).

    Fields
    ------
    scores: float64, higher for "the same person"; what error rates are of.
    llrs: float64, natural log; None from an encoder that states none.
    is_target: bool.
    enroll_speaker, test_speaker: one a trial, equal for targets.
    sex: one a trial: that of both sides where they share it, else None; empty where nobody knows.
    """

    scores: Floats
    llrs: Floats | None
    is_target: Bools
    enroll_speaker: tuple[str, ...]
    test_speaker: tuple[str, ...]
    sex: tuple[str | None, ...] = ()

    def of_sex(self, sex: str) -> Trials:
        """The trials whose two sides are of one ``sex``."""
        kept = [place for place, each in enumerate(self.sex) if each == sex]
        return Trials(
            self.scores[kept],
            None if self.llrs is None else self.llrs[kept],
            self.is_target[kept],
            tuple(self.enroll_speaker[place] for place in kept),
            tuple(self.test_speaker[place] for place in kept),
            (sex,) * len(kept),
        )

    def sides(self, values: Floats) -> tuple[Floats, Floats]:
        """``values`` (trials,) of the targets, and of the impostors."""
        return values[self.is_target], values[~self.is_target]


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """How whole calls ended, one a trial, all arrays of shape (trials,).

    Fields
    ------
    verdicts: of `streamsv.events.Verdict`, as the sessions gave them.
    net_speech_s: float64, the speech that had been used by then.
    promised: float64, the promised false-accept rate; NaN where none was.
    is_target, enroll_speaker, test_speaker: as in `Trials`.
    """

    verdicts: tuple[str, ...]
    net_speech_s: Floats
    promised: Floats
    is_target: Bools
    enroll_speaker: tuple[str, ...]
    test_speaker: tuple[str, ...]

    def ended(self, verdict: Verdict) -> Bools:
        """Which calls ended so, shape (trials,)."""
        return np.array([each == verdict for each in self.verdicts], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class PointResult:
    """The metrics at one amount of net speech; None where there is no data, ``missing`` says why.

    Fields
    ------
    net_speech_s: seconds of the test heard; None at the end of each stream.
    targets, impostors: trials scored.
    left_out: test streams that have less net speech.
    trials_left_out: all other trials of the set, also those whose enrollment was too short.
    eer: equal error rate as a fraction.
    min_dcf, act_dcf: detection cost at a target prior of `P_TARGET`: the least of any threshold,
        and that of the threshold which the LLR itself implies.
    cllr, min_cllr: cost of the LLRs in bits, as they are and after the best calibration; without
        LLRs ``min_cllr`` is that of the scores.
    calibration_loss: ``cllr`` - ``min_cllr``.
    frr_at_far_1_percent, frr_at_far_0_1_percent: share of targets refused at the threshold that
        lets through so many impostors.
    *_ci: the 95 % interval over speakers.
    missing: for a field that is None, why.
    """

    net_speech_s: float | None
    targets: int
    impostors: int
    left_out: int
    trials_left_out: int
    eer: float | None = None
    eer_ci: Interval | None = None
    min_dcf: float | None = None
    cllr: float | None = None
    min_cllr: float | None = None
    min_dcf_ci: Interval | None = None
    act_dcf: float | None = None
    act_dcf_ci: Interval | None = None
    cllr_ci: Interval | None = None
    calibration_loss: float | None = None
    frr_at_far_1_percent: float | None = None
    frr_at_far_1_percent_ci: Interval | None = None
    frr_at_far_0_1_percent: float | None = None
    frr_at_far_0_1_percent_ci: Interval | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallResult:
    """What the verdicts of whole calls came to; shares are None without calls of that kind.

    Fields
    ------
    targets, impostors: calls; every test is one against each voice that it is compared with.
    impostor_speakers: different people among the callers of the impostor calls.
    promised_error_rates: the false-accept rates that the verdicts promised, each once, rising.
    false_accepts: impostor calls accepted, as a share; without any, its interval ends at what
        ``impostor_speakers`` people without a false accept still allow (1 - 0.05^(1 / people)).
    false_rejects: target calls rejected, as a share.
    undecided_targets, undecided_impostors: calls that ended undecided, as shares.
    impostor_speakers_accepted: different people who were falsely accepted at least once.
    accept_s, accept_s_p90: net speech at the accepts of targets, median and 90 % quantile.
    reject_s, reject_s_p90: net speech at the rejects of impostors.
    *_ci: the 95 % interval over speakers.
    """

    targets: int
    impostors: int
    impostor_speakers: int
    promised_error_rates: tuple[float, ...]
    false_accepts: float | None
    false_accepts_ci: Interval | None
    false_rejects: float | None
    false_rejects_ci: Interval | None
    undecided_targets: float | None
    undecided_impostors: float | None
    impostor_speakers_accepted: int
    accept_s: float | None
    accept_s_ci: Interval | None
    accept_s_p90: float | None
    reject_s: float | None
    reject_s_ci: Interval | None
    reject_s_p90: float | None


def measure_point(
    net_speech_s: float | None,
    trials: Trials,
    left_out: int,
    trials_left_out: int,
    resamples: int = 1000,
    seed: int = 0,
) -> PointResult:
    """The metrics of ``trials``; see `PointResult`.

    Raises what `streamsv.scoring.intervals.speaker_intervals` raises.
    """
    scores, llrs = trials.scores, trials.llrs
    targets, impostors = trials.sides(scores)
    empty = PointResult(net_speech_s, len(targets), len(impostors), left_out, trials_left_out)
    if not len(targets) or not len(impostors):
        side = "target" if not len(targets) else "impostor"
        return replace(empty, missing={"eer": f"no {side} trial could be scored"})
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}

    def measure(name: str, metric: Metric, values: Floats) -> None:
        speakers = trials.enroll_speaker, trials.test_speaker
        found[name] = metric(*trials.sides(values))
        found[f"{name}_ci"] = speaker_intervals(
            metric, values, trials.is_target, *speakers, resamples, seed
        )

    measure("eer", eer, scores)
    measure("min_dcf", partial(min_dcf, p_target=P_TARGET), scores)
    for name, far in FARS.items():
        needed = round(1 / far)
        if len(impostors) < needed:
            missing[name] = f"{len(impostors)} impostor trials; at least {needed} are needed"
        else:
            measure(name, partial(frr_at_far, far=far), scores)
    found["min_cllr"] = min_cllr(*trials.sides(scores if llrs is None else llrs))
    if llrs is None:
        missing |= dict.fromkeys(("cllr", "act_dcf"), "this encoder states no likelihood ratios")
    else:
        measure("act_dcf", partial(act_dcf, p_target=P_TARGET), llrs)
        measure("cllr", cllr, llrs)
        found["calibration_loss"] = found["cllr"] - found["min_cllr"]
    return replace(empty, missing=missing, **found)


def measure_calls(calls: Calls, resamples: int = 1000, seed: int = 0) -> CallResult:
    """What the verdicts came to; see `CallResult`.

    Raises what `streamsv.scoring.intervals.speaker_intervals` raises.
    """
    is_target, is_impostor = calls.is_target, ~calls.is_target
    accepted, rejected = calls.ended(Verdict.ACCEPT), calls.ended(Verdict.REJECT)
    undecided = ~(accepted | rejected)
    has_both = bool(is_target.any() and is_impostor.any())
    people = {who for who, other in zip(calls.test_speaker, is_impostor, strict=True) if other}
    deceived = [
        who for who, ok in zip(calls.test_speaker, is_impostor & accepted, strict=True) if ok
    ]

    def interval(measure: Weighted) -> Interval | None:
        if not has_both:
            return None
        speakers = calls.enroll_speaker, calls.test_speaker
        low, high = resampled_interval(measure, is_target, *speakers, resamples, seed)
        return None if math.isnan(low) else (low, high)

    def share(holds: Bools, among: Bools) -> float | None:
        return float(holds[among].mean()) if among.any() else None

    def time(among: Bools, quantile: float) -> float | None:
        taken = calls.net_speech_s[among]
        return float(np.quantile(taken, quantile)) if len(taken) else None

    false_accepts_ci = interval(weighted_share(accepted, is_impostor))
    if false_accepts_ci is not None and not deceived:
        false_accepts_ci = 0.0, 1 - 0.05 ** (1 / len(people))
    true_accepts, true_rejects = accepted & is_target, rejected & is_impostor
    promised = np.unique(calls.promised[~np.isnan(calls.promised)])
    return CallResult(
        targets=int(is_target.sum()),
        impostors=int(is_impostor.sum()),
        impostor_speakers=len(people),
        promised_error_rates=tuple(float(rate) for rate in promised),
        false_accepts=share(accepted, is_impostor),
        false_accepts_ci=false_accepts_ci,
        false_rejects=share(rejected, is_target),
        false_rejects_ci=interval(weighted_share(rejected, is_target)),
        undecided_targets=share(undecided, is_target),
        undecided_impostors=share(undecided, is_impostor),
        impostor_speakers_accepted=len(set(deceived)),
        accept_s=time(true_accepts, 0.5),
        accept_s_ci=interval(_weighted_median(calls.net_speech_s, true_accepts)),
        accept_s_p90=time(true_accepts, 0.9),
        reject_s=time(true_rejects, 0.5),
        reject_s_ci=interval(_weighted_median(calls.net_speech_s, true_rejects)),
        reject_s_p90=time(true_rejects, 0.9),
    )


def _weighted_median(values: Floats, among: Bools) -> Weighted:
    kept = values[among]

    def measure(weights: npt.NDArray[np.int64]) -> Floats:
        drawn = [np.repeat(kept, row) for row in weights[:, among]]
        return np.array([np.median(row) if len(row) else np.nan for row in drawn])

    return measure


def joined(parts: Sequence[tuple[str, Trials]]) -> Trials:
    """The trials of several sets; people of different sets, named before each, are different."""
    llrs = [part.llrs for _, part in parts]
    stated = [each for each in llrs if each is not None]
    return Trials(
        np.concatenate([part.scores for _, part in parts]),
        np.concatenate(stated) if len(stated) == len(llrs) else None,
        np.concatenate([part.is_target for _, part in parts]),
        tuple(f"{name}/{who}" for name, part in parts for who in part.enroll_speaker),
        tuple(f"{name}/{who}" for name, part in parts for who in part.test_speaker),
        tuple(each for _, part in parts for each in part.sex or (None,) * len(part.enroll_speaker)),
    )


def joined_calls(parts: Sequence[tuple[str, Calls]]) -> Calls:
    """The calls of several sets, as `joined` does."""
    return Calls(
        tuple(verdict for _, part in parts for verdict in part.verdicts),
        np.concatenate([part.net_speech_s for _, part in parts]),
        np.concatenate([part.promised for _, part in parts]),
        np.concatenate([part.is_target for _, part in parts]),
        tuple(f"{name}/{who}" for name, part in parts for who in part.enroll_speaker),
        tuple(f"{name}/{who}" for name, part in parts for who in part.test_speaker),
    )
