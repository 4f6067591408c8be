"""``streamsv calibrate``: refit evidence and decision rules on recordings of one's own."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamsv.cli import options, terminal
from streamsv.cli.options import ConfigOption, DebugOption
from streamsv.errors import ConfigError

if TYPE_CHECKING:
    from streamsv.evaluation.achieved import Achieved
    from streamsv.evaluation.refit import Compared
    from streamsv.scoring.calibration import Calibration
    from streamsv.scoring.policy import DecisionConfig
    from streamsv.scoring.rules import StoppingRule


class SpendingName(enum.StrEnum):
    """How the error is spent over a call."""

    OBRIEN_FLEMING = "obrien-fleming"
    POCOCK = "pocock"
    LINEAR = "linear"


def calibrate(
    set_dirs: Annotated[
        list[Path],
        typer.Argument(help="Folders with streams.tsv and trials.tsv.", metavar="SET_DIR..."),
    ],
    out: Annotated[Path, typer.Option("--output", help="The calibration file to write.")] = Path(
        "calibration.json"
    ),
    spending: Annotated[
        SpendingName,
        typer.Option("--spending", help="How the promised error is spent over a call."),
    ] = SpendingName.POCOCK,
    as_recorded: Annotated[
        bool,
        typer.Option(
            "--as-recorded",
            help="Do not also send wideband recordings through 8 kHz mu-law, for telephone calls.",
        ),
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="A folder that keeps what was heard.")
    ] = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out",
            help="Also fit without each set in turn, and say what that does to it.",
        ),
    ] = False,
    talk_on: Annotated[
        bool,
        typer.Option("--talk-on", help="Also let strangers talk for three minutes. Takes longer."),
    ] = False,
    config: ConfigOption = None,
    _debug: DebugOption = False,
) -> None:
    """Fit evidence and decision rules to your own recordings."""
    from streamsv.evaluation.refit import refit
    from streamsv.evaluation.sets import load_set

    _check_writable(out)
    sets = [load_set(folder) for folder in set_dirs]
    engine = options.load_engine(config)
    with terminal.progress() as advance:
        found = refit(
            engine,
            sets,
            not as_recorded,
            spending.value,
            cache,
            advance,
            leave_out=leave_out,
            talk_on=talk_on,
        )
    fitted = found.fitted
    _print_evidence(found.compared)
    _print_rules(fitted.achieved)
    print_unseen(fitted.calibration.fitted_on)
    _print_needed(fitted.calibration.rules)
    # What was found has been said by now, should there be no room for the file.
    fitted.calibration.save(out)
    print_use(out, fitted.calibration, engine.config.decision)


def _check_writable(out: Path) -> None:
    """Find out before the work is done, not after it."""
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written: give a file in a folder that exists.", out)
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ConfigError(f"{out} cannot be written: check its permissions.", out)


def _print_evidence(rows: tuple[Compared, ...]) -> None:
    output = terminal.output()
    output.say(
        "Evidence before and after, on people that took no part in the fit; actDCF at a target "
        "prior of 0.01"
    )
    columns = (
        *("channel", "speech", "targets", "impostors", "EER %", "min Cllr"),
        *("Cllr before", "after", "actDCF before", "after"),
    )
    output.table(
        columns,
        [
            (
                row.channel,
                f"{row.net_speech_s:g} s",
                str(row.targets),
                str(row.impostors),
                f"{100 * row.eer:.1f}",
                f"{row.min_cllr:.3f}",
                *(f"{value:.3f}" for value in (row.cllr_before, row.cllr_after)),
                *(f"{value:.3f}" for value in (row.act_dcf_before, row.act_dcf_after)),
            )
            for row in rows
        ],
    )


def _print_rules(rows: tuple[Achieved, ...]) -> None:
    output = terminal.output()
    output.say("Whole calls of people that took no part in the rule; seconds of net speech")
    columns = (
        *("channel", "promised %", "achieved %", "95 %", "impostors", "accepted %"),
        *("accept s", "90 %", "one look s", "reject s"),
    )
    output.table(columns, [_rule_row(row) for row in rows])


def _rule_row(row: Achieved) -> tuple[str, ...]:
    low, high = row.far_ci
    return (
        row.channel,
        f"{100 * row.promised_far:g}",
        f"{100 * row.far:.2f}",
        f"{100 * low:.1f}-{100 * high:.1f}",
        str(row.impostor_speakers),
        f"{100 * row.accepted:.0f}",
        *(_seconds(s) for s in (row.accept_s, row.accept_s_90, row.fixed_s, row.reject_s)),
    )


def print_unseen(fitted_on: Mapping[str, Any]) -> None:
    """What was left out in turn, and strangers who talk on, as far as they were asked for."""
    from streamsv.evaluation.tables import (
        patience_table,
        unseen_calls_table,
        unseen_evidence_table,
    )

    output = terminal.output()
    if "left_out" in fitted_on:
        output.say(
            "Each set by a fit of the others: Cllr / the least possible, bits, by speech heard"
        )
        table = unseen_evidence_table(fitted_on["left_out"])
        output.table(table.columns, list(table.rows))
        output.say("Whole calls of each set by the rule of the others")
        table = unseen_calls_table(fitted_on["left_out"])
        output.table(table.columns, list(table.rows))
    if "long_calls" in fitted_on:
        output.say("Strangers accepted, %, when they hang up after so much speech")
        table = patience_table(fitted_on["long_calls"])
        output.table(table.columns, list(table.rows))


def _print_needed(rules: Mapping[str, StoppingRule]) -> None:
    from streamsv.scoring.rules import speakers_needed

    output = terminal.output()
    for channel, rule in sorted(rules.items()):
        lowest = 100 * rule.boundaries[0].target_far
        output.say(
            f"{channel}: {rule.speakers} impostor speakers support a promise of {lowest:g} % or "
            "more."
        )
    for rate in (0.01, 0.001):
        output.say(
            f"To promise {100 * rate:g} % takes calls of {speakers_needed(rate)} different "
            f"strangers; to trust it to 95 %, {round(3 / rate)} in a row without a false accept "
            "(rule of three)."
        )


def print_use(out: Path, calibration: Calibration, decision: DecisionConfig) -> None:
    """How ``calibration`` is used, and what else to set so that calls are not refused."""
    from streamsv.scoring.policy import policy_for

    output = terminal.output()
    refused = []
    for channel in sorted(calibration.channels):
        try:
            policy_for(calibration, decision, channel)
        except ConfigError as error:
            refused.append(channel)
            output.say(f"Not ready for {channel} calls: {error.message}")
    but = f", once {' and '.join(refused)} calls are seen to as said above" if refused else ""
    output.say(f"Wrote {out}; use it with `calibration: {out}` in the configuration{but}.")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
