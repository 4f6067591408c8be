"""Equal error rates of a checkpoint on evaluation sets, in a minute and without an export.

Every recording is gated as the engine gates it and heard in one forward pass, which gives the
embedding after each hop. The figures are those of `streamsv evaluate` but for rounding; they are
for choosing between checkpoints, where that is for reporting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from streamsv.audio.config import GateConfig
from streamsv.evaluation.sets import EvaluationSet
from streamsv.nn.config import HOP_SAMPLES
from streamsv.nn.student import Student
from streamsv.scoring.intervals import speaker_intervals
from streamsv.scoring.metrics import eer
from training.prepare import load_speech
from training.whole import WholeStudent

Floats = NDArray[np.float32]
POINTS: tuple[float | None, ...] = (1.0, 2.0, 3.0, 5.0, 10.0, None)
"""Seconds of net speech of the test; None is the whole of it."""

_BATCH = 16
_HOP_S = HOP_SAMPLES / 16_000


@torch.no_grad()
def running_embeddings(student: Student, recordings: Sequence[Floats]) -> list[Floats]:
    """The embedding after each hop, (hops, dimension), of each recording (samples,)."""
    found: list[Floats] = [np.zeros((0, student.config.embedding), np.float32)] * len(recordings)
    hops = np.array([len(pcm) // HOP_SAMPLES for pcm in recordings])
    order = [int(place) for place in np.argsort(hops) if hops[place]]
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        pcm = np.zeros((len(part), hops[part].max() * HOP_SAMPLES), np.float32)
        for row, place in enumerate(part):
            whole = recordings[place][: hops[place] * HOP_SAMPLES]
            pcm[row, : len(whole)] = whole
        embeddings = student(torch.from_numpy(pcm)).numpy()
        for row, place in enumerate(part):
            found[place] = embeddings[row, : hops[place]].copy()
    return found


@torch.no_grad()
def repeated_embeddings(
    student: Student, recordings: Sequence[Floats], points: Sequence[float | None]
) -> list[Floats]:
    """As :func:`running_embeddings` for a student that hears whole clips.

    Each recording is heard anew up to each of ``points``, one at a time; the embeddings after
    other hops are zeros.
    """
    found = []
    for pcm in recordings:
        hops = len(pcm) // HOP_SAMPLES
        rows = np.zeros((hops, student.config.embedding), np.float32)
        for length in sorted({_hops_of(point) if point else hops for point in points} | {hops}):
            if 0 < length <= hops:
                clip = torch.from_numpy(pcm[None, : length * HOP_SAMPLES])
                rows[length - 1] = student(clip)[0, -1].numpy()
        found.append(rows)
    return found


def _hops_of(seconds: float) -> int:
    return round(seconds / _HOP_S)


class HeardTrials:
    """The cosines of one set's trials after any number of seconds.

    For a student that hears whole clips those are the ``points`` alone.
    """

    def __init__(
        self,
        student: Student,
        chosen: EvaluationSet,
        points: Sequence[float | None] = POINTS,
    ) -> None:
        self.name = chosen.name
        self._points = tuple(points) if isinstance(student, WholeStudent) else None
        speech = {
            name: load_speech(stream.path, GateConfig()) for name, stream in chosen.streams.items()
        }
        sides = sorted({trial.enroll for trial in chosen.trials})
        tests = sorted({trial.test for trial in chosen.trials})
        recordings = [np.concatenate([speech[name] for name in side]) for side in sides]
        recordings += [speech[name] for name in tests]
        if isinstance(student, WholeStudent):
            heard = repeated_embeddings(student, recordings, points)
        else:
            heard = running_embeddings(student, recordings)
        enrolled = dict(zip(sides, heard, strict=False))
        tested = dict(zip(tests, heard[len(sides) :], strict=True))
        self._trials = [
            (enrolled[trial.enroll][-1], tested[trial.test], trial.is_target)
            for trial in chosen.trials
            if len(enrolled[trial.enroll])
        ]
        self._speakers = [
            (chosen.streams[trial.enroll[0]].speaker, chosen.streams[trial.test].speaker)
            for trial in chosen.trials
            if len(enrolled[trial.enroll])
        ]

    def at(self, seconds: float | None) -> tuple[Floats, NDArray[np.bool_], list[str], list[str]]:
        """Cosines (trials,), which are targets, and both sides' speakers, prefixed by the set.

        A test with less speech than ``seconds`` is left out. Raises ValueError for a point that a
        student of whole clips was not asked about.
        """
        if self._points is not None and seconds not in (None, *self._points):
            raise ValueError(f"{seconds} s is none of the points heard: {self._points}")
        hops = 1 if seconds is None else _hops_of(seconds)
        rows = [row for row, (_, test, _) in enumerate(self._trials) if len(test) >= hops]
        last = -1 if seconds is None else hops - 1
        cosines = [float(self._trials[row][0] @ self._trials[row][1][last]) for row in rows]
        return (
            np.array(cosines, np.float32),
            np.array([self._trials[row][2] for row in rows], bool),
            [f"{self.name}/{self._speakers[row][0]}" for row in rows],
            [f"{self.name}/{self._speakers[row][1]}" for row in rows],
        )


def error_rates(
    student: Student,
    sets: Sequence[EvaluationSet],
    points: Sequence[float | None] = POINTS,
    resamples: int = 0,
) -> Mapping[str, list[dict[str, float | None]]]:
    """By set, and ``pooled``: ``seconds``, ``eer`` and, with ``resamples``, its 95 % interval
    (``low``, ``high``), as fractions, at each of ``points``.
    """
    heard = [HeardTrials(student, each, points) for each in sets]
    table: dict[str, list[dict[str, float | None]]] = {each.name: [] for each in heard}
    table["pooled"] = []
    for point in points:
        found = [each.at(point) for each in heard]
        for each, one in zip(heard, found, strict=True):
            table[each.name].append(_row(point, [one], resamples))
        table["pooled"].append(_row(point, found, resamples))
    return table


def _row(
    point: float | None,
    parts: Sequence[tuple[Floats, NDArray[np.bool_], list[str], list[str]]],
    resamples: int,
) -> dict[str, float | None]:
    cosines = np.concatenate([part[0] for part in parts])
    is_target = np.concatenate([part[1] for part in parts])
    row: dict[str, float | None] = {"seconds": point, "eer": None}
    if not is_target.any() or is_target.all():
        return row
    row["eer"] = round(eer(cosines[is_target], cosines[~is_target]), 5)
    if resamples:
        enrolled = [name for part in parts for name in part[2]]
        tested = [name for part in parts for name in part[3]]
        low, high = speaker_intervals(eer, cosines, is_target, enrolled, tested, resamples)
        row |= {"low": round(low, 5), "high": round(high, 5)}
    return row


def as_text(table: Mapping[str, list[dict[str, float | None]]]) -> str:
    """The table in percent, a line a set."""
    lines = []
    for name, rows in table.items():
        values = ["   -" if row["eer"] is None else f"{100 * row['eer']:4.1f}" for row in rows]
        lines.append(f"{name:20} " + "  ".join(values))
    return "\n".join(lines)
