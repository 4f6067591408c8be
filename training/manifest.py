"""What there is to train on: lists of clips, noises and rooms, checked as they are read."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from streamsv.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one voice. ``sample_rate_origin`` 8000 means true telephone audio."""

    path: Path
    source: str
    speaker: str
    session: str
    sample_rate_origin: int


@dataclasses.dataclass(frozen=True, slots=True)
class Sound:
    """A noise (``kind`` ``noise``, ``music``, ``speech``) or a room impulse response (``room``)."""

    path: Path
    kind: str


UNLABELED_PREFIXES = ("picovoice_", "mycroft", "cv_mini")
"""Sources without speaker labels: each of their files counts as a speaker of its own."""


def is_labeled(source: str) -> bool:
    """Whether a source's speaker labels are people, not files."""
    return not source.startswith(UNLABELED_PREFIXES)


def weight_of(source: str, weights: Mapping[str, float]) -> float:
    """How often a source is drawn: the weight of its longest prefix in ``weights``, 1 without."""
    matching = [prefix for prefix in weights if source.startswith(prefix)]
    return weights[max(matching, key=len)] if matching else 1.0


def _rows(table: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not table.is_file():
        raise ConfigError(
            f"There is no manifest at {table}. Set the path in the training configuration to a "
            f"tab-separated table with the columns {', '.join(columns)}.",
            str(table),
        )
    with table.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, delimiter="\t")
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise ConfigError(
                f"{table} lacks the column {missing[0]!r}; it needs {', '.join(columns)}.",
                missing[0],
            )
        rows = list(reader)
    for line, row in enumerate(rows, start=2):
        if short := [name for name in columns if row[name] is None]:
            raise ConfigError(
                f"{table}, line {line} ends before the column {short[0]!r}; between fields stands "
                "one tab.",
                short[0],
            )
    return rows


def _existing(path: Path, table: Path, line: int) -> Path:
    if not path.is_file():
        raise ConfigError(f"{table}, line {line}: there is no file {path}.", str(path))
    return path


def _rate(text: str, table: Path, line: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(
            f"{table}, line {line}: sample_rate_origin is {text!r}; write hertz as a whole number, "
            "such as 16000.",
            text,
        )
    return int(text)


def read_clips(table: Path, must_exist: bool = True) -> list[Clip]:
    """Read a table ``path source speaker session sample_rate_origin``, paths beside the table.

    Raises ConfigError naming file and line for anything missing; the recordings themselves are not
    looked for unless they ``must_exist``.
    """
    columns = ("path", "source", "speaker", "session", "sample_rate_origin")
    return [
        Clip(
            _existing(table.parent / row["path"], table, line)
            if must_exist
            else table.parent / row["path"],
            row["source"],
            row["speaker"],
            row["session"],
            _rate(row["sample_rate_origin"], table, line),
        )
        for line, row in enumerate(_rows(table, columns), start=2)
    ]


def read_sounds(table: Path) -> list[Sound]:
    """Read a table ``path kind``, paths beside the table. Raises ConfigError as read_clips."""
    return [
        Sound(_existing(table.parent / row["path"], table, line), row["kind"])
        for line, row in enumerate(_rows(table, ("path", "kind")), start=2)
    ]
