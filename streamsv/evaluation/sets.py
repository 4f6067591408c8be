"""Evaluation sets: recordings with known speakers, and the trials to be scored on them.

A set is a folder with two tables, UTF-8, one tab between fields, the first line naming the
columns (more columns than these are ignored):

- ``streams.tsv``: ``stream path speaker session sample_rate seconds sex channel``; ``sex`` may be
  empty, ``path`` is relative to the folder and stays inside it, ``sample_rate`` is that of the
  stored file;
- ``trials.tsv``: ``enroll test target``; ``enroll`` is one stream or several joined by commas
  (enrolled together), ``target`` 1 for the same person and 0 for another.

Nothing here reads audio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from streamsv.errors import ConfigError, EvaluationSetError

CHANNELS = ("wideband", "telephone")
STREAM_COLUMNS = (
    "stream",
    "path",
    "speaker",
    "session",
    "sample_rate",
    "seconds",
    "sex",
    "channel",
)
TRIAL_COLUMNS = ("enroll", "test", "target")


@dataclass(frozen=True, slots=True)
class Stream:
    """One recording: ``sample_rate`` in Hz of the stored file, ``sex`` None when not known."""

    name: str
    path: Path
    speaker: str
    session: str
    sample_rate: int
    seconds: float
    sex: str | None
    channel: str


@dataclass(frozen=True, slots=True)
class Trial:
    """The streams enrolled together, the stream tested, and whether one person speaks in all."""

    enroll: tuple[str, ...]
    test: str
    is_target: bool


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A set that was checked: every trial names streams of ``streams``, by their names."""

    name: str
    folder: Path
    streams: Mapping[str, Stream]
    trials: tuple[Trial, ...]


def load_set(folder: str | Path) -> EvaluationSet:
    """Read and check the set in ``folder``; its name is the folder's.

    Raises `EvaluationSetError` naming file, line, value and what is expected: for a table or an
    audio file that is missing, a column that is missing, a value of the wrong kind, a stream or
    trial that occurs twice, a path that leaves the folder, a trial with an unknown stream, with
    its test stream among those enrolled, with several speakers enrolled as one, or with a label
    that contradicts the speakers.
    """
    root = Path(folder)
    streams: dict[str, Stream] = {}
    for line in _lines(root / "streams.tsv", STREAM_COLUMNS):
        stream = _stream(line, root)
        if stream.name in streams:
            line.refuse("stream", "a name that no line above has")
        streams[stream.name] = stream
    trials: dict[tuple[frozenset[str], str], Trial] = {}
    for line in _lines(root / "trials.tsv", TRIAL_COLUMNS):
        trial = _trial(line, streams)
        key = (frozenset(trial.enroll), trial.test)
        if key in trials:
            line.refuse("enroll", f"a trial that no line above has (test {trial.test!r})")
        trials[key] = trial
    return EvaluationSet(root.resolve().name, root, streams, tuple(trials.values()))


def check_names(names: Sequence[str]) -> None:
    """Raise `ConfigError` unless every set has a name of its own: people are told apart by it."""
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two sets are named {name}; rename the folder of one.", name)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a table, by column."""

    file: Path
    number: int
    fields: Mapping[str, str]

    def refuse(self, column: str, expected: str, value: Any = None) -> NoReturn:
        """Raise the error for ``column``; ``value`` is the part that is wrong, if not all."""
        shown = self.fields[column] if value is None else value
        raise EvaluationSetError(
            f"{self.file}, line {self.number}: {column} is {shown!r}; expected {expected}.", shown
        )


def _lines(file: Path, columns: tuple[str, ...]) -> Iterator[_Line]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise EvaluationSetError(
            f"{file} is missing; an evaluation set is a folder with streams.tsv and trials.tsv.",
            str(file),
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationSetError(f"{file} cannot be read as UTF-8 text: {error}.") from error
    header, *rows = [line.removesuffix("\r") for line in text.split("\n")]
    names = header.split("\t")
    for column in columns:
        if names.count(column) != 1:
            found = "missing" if column not in names else "named twice"
            raise EvaluationSetError(
                f"{file}, line 1: column {column!r} is {found}; expected the columns "
                f"{', '.join(columns)}, separated by tabs.",
                column,
            )
    filled = [(number, row) for number, row in enumerate(rows, start=2) if row.strip()]
    if not filled:
        raise EvaluationSetError(f"{file} has no lines below its header; expected at least one.")
    for number, row in filled:
        values = row.split("\t")
        if len(values) != len(names):
            raise EvaluationSetError(
                f"{file}, line {number}: {len(values)} fields; expected {len(names)}, as in the "
                "header, separated by tabs.",
                len(values),
            )
        yield _Line(file, number, dict(zip(names, values, strict=True)))


def _stream(line: _Line, folder: Path) -> Stream:
    for column in ("stream", "path", "speaker", "session"):
        if not line.fields[column].strip():
            line.refuse(column, "a value")
    if "," in line.fields["stream"]:
        line.refuse("stream", "a name without a comma, which joins streams in trials.tsv")
    relative = PurePosixPath(line.fields["path"])
    if relative.is_absolute() or ".." in relative.parts or "\\" in line.fields["path"]:
        line.refuse("path", "a path inside the folder of the set, with '/' and without '..'")
    path = folder / relative
    if not path.is_file():
        line.refuse("path", f"an audio file; there is none at {path}")
    if line.fields["channel"] not in CHANNELS:
        line.refuse("channel", " or ".join(CHANNELS))
    return Stream(
        name=line.fields["stream"],
        path=path,
        speaker=line.fields["speaker"],
        session=line.fields["session"],
        sample_rate=_sample_rate(line),
        seconds=_seconds(line),
        sex=line.fields["sex"] or None,
        channel=line.fields["channel"],
    )


def _sample_rate(line: _Line) -> int:
    text = line.fields["sample_rate"]
    if not re.fullmatch("[1-9][0-9]{0,6}", text):
        line.refuse("sample_rate", "a whole number of Hz above 0")
    return int(text)


def _seconds(line: _Line) -> float:
    try:
        seconds = float(line.fields["seconds"])
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        line.refuse("seconds", "a number of seconds above 0")
    return seconds


def _trial(line: _Line, streams: Mapping[str, Stream]) -> Trial:
    enroll = tuple(line.fields["enroll"].split(","))
    test = line.fields["test"]
    for column, names in (("enroll", enroll), ("test", (test,))):
        for name in names:
            if name not in streams:
                line.refuse(column, "a stream of streams.tsv", name)
    if len(set(enroll)) < len(enroll):
        line.refuse("enroll", "each stream once")
    if test in enroll:
        line.refuse("test", "a stream that is not among its own enrollment")
    enrolled = sorted({streams[name].speaker for name in enroll})
    if len(enrolled) > 1:
        line.refuse("enroll", f"streams of one speaker, not of {' and '.join(enrolled)}")
    label = line.fields["target"]
    if label not in ("0", "1"):
        line.refuse("target", "1 for the same person or 0 for another")
    spoken = streams[test].speaker
    if (label == "1") != (enrolled[0] == spoken):
        line.refuse(
            "target",
            f"{1 - int(label)}: {enrolled[0]!r} is enrolled and {spoken!r} speaks in {test!r} "
            "(streams.tsv)",
        )
    return Trial(enroll, test, label == "1")
