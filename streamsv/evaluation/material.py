"""What a calibration is fitted to: sets that are heard once, and what their trials compare.

Each recording becomes a track (`streamsv.evaluation.tracks`). From these come the trials of the
sets at several amounts of speech, enrolled and heard, and calls, made by joining the test
recordings of one speaker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamsv.errors import EvaluationSetError
from streamsv.evaluation.evidence import TrialTable
from streamsv.evaluation.sets import EvaluationSet, check_names
from streamsv.evaluation.stopping import UNTIL_S, look_times
from streamsv.evaluation.streaming import format_of
from streamsv.evaluation.tracks import Recording, Track, TrackReader
from streamsv.scoring.calibration import MIXED

HEARD_S = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Net speech of the test at which the evidence is fitted: nothing is decided before a second."""

ENROLLED_CUTS_S = (3.0, None)
"""How much of an enrollment the evidence is fitted with; None is all of it."""

POINTS_S = (3.0, 10.0, None)
"""Net speech of the test at which evidence is judged; None is all of it."""

_WAYS: Mapping[str, tuple[str | None, str | None]] = {
    "as recorded": (None, None),
    "telephone": ("telephone", "telephone"),
    "mixed": (None, "telephone"),
}
"""How enrollment and test are heard."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is fitted: ``trials``, and ``calls`` with a row a look and the call that it is of.

    Fields
    ------
    calls: the cosines of calls at the looks; ``group`` is the number of the call.
    points: the trials with whole enrollments at each of `POINTS_S`.
    heard: for the reader: which sets were heard in which way.
    """

    trials: TrialTable
    calls: TrialTable
    points: Mapping[float | None, TrialTable]
    heard: tuple[dict[str, Any], ...]


def gathered(
    reader: TrackReader, sets: Sequence[EvaluationSet], telephone_too: bool = True
) -> Material:
    """Hear ``sets`` and compare what their trials compare.

    Raises `EvaluationSetError` when nothing could be scored, `UnsupportedAudio` for a file that
    cannot be read, and `ConfigError` for two sets of one name, whose people would be taken for the
    same.
    """
    check_names([each.name for each in sets])
    trials, calls, heard = _Rows(), _Rows(), []
    points = {point: _Rows() for point in POINTS_S}
    for evaluation_set in sets:
        is_wide = any(s.channel == "wideband" for s in evaluation_set.streams.values())
        ways = _WAYS if telephone_too and is_wide else {"as recorded": (None, None)}
        for way, (enroll_channel, test_channel) in ways.items():
            one = _SetInOneWay(reader, evaluation_set, way, enroll_channel, test_channel)
            heard.append(one.add_to(trials, calls, points))
    if not len(trials):
        raise EvaluationSetError("No trial of any set could be scored; there is nothing to fit.")
    tables = {point: rows.table() for point, rows in points.items()}
    return Material(trials.table(), calls.table(), tables, tuple(heard))


class _Rows:
    """A `TrialTable` in the making."""

    def __init__(self) -> None:
        self._columns: tuple[list[Any], ...] = tuple([] for _ in range(7))

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, cosines: Any, heard_s: Any, *others: Any) -> None:
        count = len(cosines)
        self._columns[0].extend(cosines.tolist())
        self._columns[1].extend(heard_s.tolist())
        for column, value in zip(self._columns[2:], others, strict=True):
            column.extend([value] * count)

    def table(self) -> TrialTable:
        cosine, heard_s, enrolled_s = (np.array(c, dtype=np.float64) for c in self._columns[:3])
        # Groups may be numbers; an empty column would be one of floats.
        names = (np.array(c) if c else np.zeros(0, np.str_) for c in self._columns[3:])
        return TrialTable(cosine, heard_s, enrolled_s, *names)


class _SetInOneWay:
    """The tracks of one set, heard in one way, and their trials."""

    def __init__(
        self,
        reader: TrackReader,
        evaluation_set: EvaluationSet,
        way: str,
        enroll_channel: str | None,
        test_channel: str | None,
    ) -> None:
        self._set, self._way = evaluation_set, way
        streams = evaluation_set.streams
        enrolled = {name for trial in evaluation_set.trials for name in trial.enroll}
        tested = list(dict.fromkeys(trial.test for trial in evaluation_set.trials))
        of_speaker: dict[tuple[str, str], list[str]] = {}
        for name in tested:
            rate = format_of(streams[name].path).sample_rate
            key = streams[name].speaker, f"{rate} {streams[name].channel}"
            of_speaker.setdefault(key, []).append(name)
        self._enrolled = {n: Recording((streams[n].path,), enroll_channel) for n in enrolled}
        self._tested = {n: Recording((streams[n].path,), test_channel, UNTIL_S) for n in tested}
        self._joined = {}
        for names in of_speaker.values():
            for first, name in enumerate(names):
                order = names[first:] + names[:first]
                paths = tuple(streams[each].path for each in order)
                self._joined[name] = Recording(paths, test_channel, UNTIL_S)
        wanted = [*self._enrolled.values(), *self._tested.values(), *self._joined.values()]
        self._tracks = reader.read(wanted)

    def add_to(
        self, trials: _Rows, calls: _Rows, points: Mapping[float | None, _Rows]
    ) -> dict[str, Any]:
        """Add all that could be scored; says what that was."""
        scored, speakers, looks = 0, set(), look_times()
        for trial in self._set.trials:
            names = [
                f"{self._set.name}/{self._set.streams[name].speaker}"
                for name in (trial.enroll[0], trial.test)
            ]
            test = self._tracks[self._tested[trial.test]]
            call = self._tracks[self._joined[trial.test]]
            parts = [self._tracks[self._enrolled[name]] for name in trial.enroll]
            whole = voiceprint_of(parts, None)
            if whole is None or not test.hops:
                continue
            scored += 1
            speakers.update(names)
            same = len({test.channel, *(part.channel for part in parts)}) == 1
            channel = test.channel if same else MIXED
            group = f"{self._set.name}|{self._way}"
            for cut in ENROLLED_CUTS_S:
                made = voiceprint_of(parts, cut)
                if made is not None:
                    _compare(trials, test, HEARD_S, made, channel, group, *names)
            for point, rows in points.items():
                at_s = (test.net_speech_s if point is None else point,)
                _compare(rows, test, at_s, whole, channel, group, *names)
            _compare(calls, call, looks, whole, channel, len(calls), *names)
        return {
            "set": self._set.name,
            "channel": None if self._way == "as recorded" else self._way,
            "trials": scored,
            "speakers": len(speakers),
        }


def _compare(
    rows: _Rows,
    track: Track,
    at_s: Any,
    voiceprint: tuple[Any, float],
    channel: str,
    group: str | int,
    enroll_speaker: str,
    test_speaker: str,
) -> None:
    embedding, enrolled_s = voiceprint
    hops = [hop for hop in map(track.hop_at, at_s) if hop is not None]
    heard_s = np.asarray(at_s, dtype=np.float64)[: len(hops)]
    cosines = track.embeddings[hops] @ embedding
    rows.add(cosines, heard_s, enrolled_s, channel, group, enroll_speaker, test_speaker)


def voiceprint_of(parts: Sequence[Track], cut_s: float | None) -> tuple[Any, float] | None:
    """The embedding of an enrollment, and its net speech; None below a second, or below the cut.

    As `streamsv.engine.EnrollmentSession` makes it: the mean weighted by net speech.
    """
    lengths = [part.hops for part in parts]
    if cut_s is not None:
        left = round(cut_s / parts[0].hop_s)
        if sum(lengths) < left:
            return None
        for number, length in enumerate(lengths):
            lengths[number] = min(length, left)
            left -= lengths[number]
    pairs = list(zip(parts, lengths, strict=True))
    seconds = sum(lengths) * parts[0].hop_s
    if seconds < 1.0:
        return None
    total = sum(part.embeddings[length - 1] * length for part, length in pairs if length)
    return (total / np.linalg.norm(total)).astype(np.float32), seconds
