"""``streamsv evaluate``: how well sets of labelled recordings are told apart."""

from __future__ import annotations

import contextlib
import datetime
import enum
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamsv.cli import options, terminal
from streamsv.cli.exits import UsageError
from streamsv.cli.options import ConfigOption, DebugOption
from streamsv.errors import ConfigError

if TYPE_CHECKING:
    from streamsv.evaluation.measures import PointResult
    from streamsv.evaluation.report import EvaluationReport


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
    set_dirs: Annotated[
        list[Path],
        typer.Argument(help="Folders with streams.tsv and trials.tsv.", metavar="SET_DIR..."),
    ],
    at: Annotated[
        str, typer.Option("--at", help="Seconds of net speech to measure at.")
    ] = "1,2,3,5,10",
    out: Annotated[
        Path | None,
        typer.Option("--json", metavar="OUT", help="Write the results here; - for stdout."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a page with plots, HTML, here."),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", metavar="DIR", help="Write the plots here as PNG too."),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            "--rival",
            metavar="NAME",
            help="Measure another encoder too: resemblyzer, or a file .onnx. May be repeated.",
        ),
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
    from streamsv.evaluation.heard import hear, pooled
    from streamsv.evaluation.page import write_page, write_plots
    from streamsv.evaluation.page.picture import check_renderer
    from streamsv.evaluation.report import measure
    from streamsv.evaluation.rivals import load_rival
    from streamsv.evaluation.sets import check_names, load_set

    points = _points(at)
    for file in (out, page):
        _check_writable(file)
    if plots is not None:
        check_renderer()
        _make_folder(plots)
    sets = [load_set(folder) for folder in set_dirs]
    check_names([each.name for each in sets])
    engine = options.load_engine(config)
    rivals = [load_rival(name) for name in rival or ()]
    through = channel.value if channel else None
    with terminal.progress() as advance:
        heard = [hear(engine, each, points, score.value, through, rivals, advance) for each in sets]
    report = measure(
        engine,
        heard,
        score.value,
        through,
        resamples,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=_commit(),
    )
    together = heard[0] if len(heard) == 1 else pooled(heard)
    written = []
    if out is not None:
        _write(json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n", out)
        written += [f"Wrote the results to {out}."]
    if page is not None:
        _write(write_page(report.to_dict(), together), page)
        written += [f"Wrote the report to {page}."]
    if plots is not None:
        files = write_plots(report.to_dict(), together, plots)
        written += [f"Wrote {_count(len(files), 'plot')} to {plots}."]
    if out is None or str(out) != "-":
        for each in (*report.sets, report):
            _print(each)
        for line in written:
            terminal.output().say(line)


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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}.", str(folder)) from error


def _write(text: str, out: Path) -> None:
    if str(out) == "-":
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.", str(out)) from error


def _commit() -> str | None:
    """The commit that this code was checked out at, with ``+`` after changes; None if installed."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        git("ls-files", "--error-unmatch", here.name)
        changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "--short=12", "HEAD") + changed
    return None


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
    for rival in report.rivals:
        output.say(f"The same samples and trials by {rival.name} ({rival.version}):")
        output.table(columns, [_row(result, has_intervals) for result in rival.results])
    _print_calls(report)


def _print_calls(report: EvaluationReport) -> None:
    calls = report.calls
    if calls.false_accepts is None or calls.false_rejects is None:
        return
    promised = " and ".join(f"{100 * rate:g} %" for rate in calls.promised_error_rates)
    taken = "" if calls.accept_s is None else f", accepted after {calls.accept_s:.1f} s (median)"
    terminal.output().say(
        f"Whole calls: {100 * calls.false_accepts:.1f} % false accepts (promised "
        f"{promised or 'nothing'}), {100 * calls.false_rejects:.1f} % false rejects, "
        f"{_number(calls.undecided_targets, 100, 1)} % of true speakers undecided{taken}"
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
