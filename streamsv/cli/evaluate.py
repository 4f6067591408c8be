"""``streamsv evaluate``: how well a set of labelled recordings is told apart."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamsv.cli import options, terminal
from streamsv.cli.exits import UsageError
from streamsv.cli.options import ConfigOption, DebugOption
from streamsv.errors import ConfigError

if TYPE_CHECKING:
    from streamsv.evaluation.report import EvaluationReport, PointResult


_LEAST_SPEAKERS = 10
"""Resampling fewer speakers says next to nothing about others."""


class ScoreName(enum.StrEnum):
    """What the error rates are of."""

    COSINE = "cosine"
    NORMALIZED = "normalized"
    LLR = "llr"


class ChannelName(enum.StrEnum):
    """What all the sound is sent through first."""

    TELEPHONE = "telephone"


def evaluate(
    set_dir: Annotated[
        Path, typer.Argument(help="A folder with streams.tsv and trials.tsv.", metavar="SET_DIR")
    ],
    at: Annotated[
        str, typer.Option("--at", help="Seconds of net speech to measure at.")
    ] = "1,2,3,5,10",
    out: Annotated[
        Path | None,
        typer.Option("--json", metavar="OUT", help="Write the report here; - for stdout."),
    ] = None,
    score: Annotated[
        ScoreName, typer.Option("--score", help="What EER and minDCF are of.")
    ] = ScoreName.COSINE,
    channel: Annotated[
        ChannelName | None,
        typer.Option("--channel", help="Send everything through 8 kHz mu-law first."),
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=1, help="Of the speakers, for the 95 % intervals.")
    ] = 1000,
    config: ConfigOption = None,
    _debug: DebugOption = False,
) -> None:
    """Measure the error rates on a set, after each amount of net speech."""
    from streamsv.evaluation.report import evaluate as measure
    from streamsv.evaluation.sets import load_set

    points = _points(at)
    _check_writable(out)
    evaluation_set = load_set(set_dir)
    engine = options.load_engine(config)
    with terminal.progress() as advance:
        report = measure(
            engine,
            evaluation_set,
            points,
            score=score.value,
            channel=channel.value if channel else None,
            resamples=resamples,
            progress=advance,
        )
    if out is not None:
        _write(report, out)
    if out is None or str(out) != "-":
        _print(report)
    if out is not None and str(out) != "-":
        terminal.output().say(f"Wrote the report to {out}.")


def _points(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(
            f"--at is {text!r}; give seconds with commas between, such as 1,2,3."
        ) from error


def _check_writable(out: Path | None) -> None:
    """Find out before the work is done, not after it."""
    if out is not None and str(out) != "-" and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigError(f"{out} cannot be written: give a file in a folder that exists.", out)


def _write(report: EvaluationReport, out: Path) -> None:
    text = json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n"
    if str(out) == "-":
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.", str(out)) from error


def _print(report: EvaluationReport) -> None:
    through = f", sent through the {report.channel}" if report.channel else ""
    output = terminal.output()
    speakers, trials = _count(report.speakers, "speaker"), _count(report.trials, "trial")
    output.say(f"{report.set}: {speakers}, {trials}{through}")
    output.say(
        f"{_count(report.enrollments, 'enrollment')}, of which {report.enrollments_refused} would "
        f"have been refused and {report.enrollments_too_short} had too little speech; EER and "
        f"minDCF of the {report.score}"
    )
    has_intervals = report.speakers >= _LEAST_SPEAKERS
    columns = (
        *("speech", "targets", "impostors", "tests left out"),
        *("EER %", "95 %", "minDCF", "Cllr", "min Cllr"),
    )
    output.table(columns, [_row(result, has_intervals) for result in report.results])
    if not has_intervals:
        output.say(
            f"No 95 % intervals: they need {_LEAST_SPEAKERS} speakers, and {report.set} has "
            f"{report.speakers}."
        )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _row(result: PointResult, has_intervals: bool) -> tuple[str, ...]:
    interval = result.eer_ci if has_intervals else None
    return (
        "all" if result.net_speech_s is None else f"{result.net_speech_s:g} s",
        str(result.targets),
        str(result.impostors),
        str(result.left_out),
        _number(result.eer, 100, 1),
        "-" if interval is None else f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}",
        _number(result.min_dcf, 1, 3),
        _number(result.cllr, 1, 3),
        _number(result.min_cllr, 1, 3),
    )


def _number(value: float | None, scale: float, digits: int) -> str:
    return "-" if value is None else f"{scale * value:.{digits}f}"
