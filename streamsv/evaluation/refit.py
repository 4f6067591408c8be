"""A refit on recordings of one's own, and what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamsv.engine import Engine
from streamsv.evaluation.evidence import KNOTS_S, LEAST_SPEAKERS
from streamsv.evaluation.fit import Fitted, fit_material, held_out_llrs
from streamsv.evaluation.material import Material, gathered
from streamsv.evaluation.patience import Patience, long_calls
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.stopping import spending_of
from streamsv.evaluation.tracks import TrackReader, TracksProgress
from streamsv.evaluation.unseen import Unseen, left_out
from streamsv.scoring.calibration import Calibration
from streamsv.scoring.metrics import act_dcf, cllr, eer, min_cllr
from streamsv.scoring.policy import DecisionConfig

_SHOWN_S = (1.0, 3.0, 10.0)


@dataclass(frozen=True, slots=True)
class Compared:
    """Evidence on one channel after so much speech, with the calibration before and after.

    After is out of fold: each trial is judged by evidence fitted without either of its people.
    EER and minimum Cllr are those of the LLRs before.
    """

    channel: str
    net_speech_s: float
    targets: int
    impostors: int
    eer: float
    min_cllr: float
    cllr_before: float
    cllr_after: float
    act_dcf_before: float
    act_dcf_after: float


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """A new calibration, what it changed, and what is to be expected on other recordings.

    ``compared`` is empty without a calibration to compare with, ``unseen`` None and ``patience``
    empty unless they were asked for. What they hold is also in the calibration's ``fitted_on``.
    """

    fitted: Fitted
    compared: tuple[Compared, ...]
    unseen: Unseen | None
    patience: tuple[Patience, ...]


def refit(
    engine: Engine,
    sets: Sequence[EvaluationSet],
    telephone_too: bool = True,
    spending: str = "pocock",
    cache: Path | None = None,
    progress: TracksProgress | None = None,
    least_speakers: int = LEAST_SPEAKERS,
    leave_out: bool = False,
    talk_on: bool = False,
) -> Refit:
    """Fit ``sets`` with the model and gate of ``engine``, and compare with its calibration.

    ``leave_out`` also leaves out each set in turn (`streamsv.evaluation.unseen`), ``talk_on`` lets
    strangers talk for minutes (`streamsv.evaluation.patience`).

    Raises `EvaluationSetError` when a channel has fewer than ``least_speakers`` people or its
    targets do not score above its impostors; `ConfigError` for an unknown ``spending``.
    """
    reader = TrackReader(engine.encoder, engine.config, cache, progress)
    return fit_with(
        reader,
        sets,
        telephone_too,
        spending,
        least_speakers,
        leave_out,
        talk_on,
        engine.calibration,
        engine.config.decision,
    )


def fit_with(
    reader: TrackReader,
    sets: Sequence[EvaluationSet],
    telephone_too: bool = True,
    spending: str = "pocock",
    least_speakers: int = LEAST_SPEAKERS,
    leave_out: bool = False,
    talk_on: bool = False,
    before: Calibration | None = None,
    config: DecisionConfig | None = None,
) -> Refit:
    """As `refit`, for an encoder that may have no calibration yet. Raises as `refit` does."""
    spending_of(spending)
    material = gathered(reader, sets, telephone_too)
    encoder = reader.encoder
    fitted = fit_material(encoder.fingerprint, material, least_speakers, spending)
    unseen = left_out(material, spending) if leave_out else None
    patience = long_calls(reader, sets, fitted.calibration, config) if talk_on else ()
    fitted_on = dict(fitted.calibration.fitted_on)
    if unseen is not None:
        fitted_on["left_out"] = unseen.to_dict()
    if patience:
        fitted_on["long_calls"] = [each.to_dict() for each in patience]
    calibration = replace(fitted.calibration, model_sha256=encoder.file_sha256, fitted_on=fitted_on)
    return Refit(
        replace(fitted, calibration=calibration),
        compared(before, material) if before is not None else (),
        unseen,
        patience,
    )


def compared(before: Calibration, material: Material) -> tuple[Compared, ...]:
    """``before`` beside a fit of ``material``, by channel and seconds."""
    table, after = held_out_llrs(material)
    rows = []
    for channel in sorted(set(table.channel.tolist()) & set(before.channels)):
        for net_speech_s in [knot for knot in KNOTS_S if knot in _SHOWN_S]:
            at = (table.channel == channel) & (table.heard_s == net_speech_s) & np.isfinite(after)
            targets, impostors = at & table.is_target, at & ~table.is_target
            if not targets.any() or not impostors.any():
                continue
            llrs = np.full(len(at), np.nan)
            llrs[at] = before.llr(table.cosine[at], net_speech_s, channel, table.enrolled_s[at])
            old, new = (llrs[targets], llrs[impostors]), (after[targets], after[impostors])
            rows.append(
                Compared(
                    channel,
                    net_speech_s,
                    len(old[0]),
                    len(old[1]),
                    eer(*old),
                    min_cllr(*old),
                    cllr(*old),
                    cllr(*new),
                    act_dcf(*old, p_target=0.01),
                    act_dcf(*new, p_target=0.01),
                )
            )
    return tuple(rows)
