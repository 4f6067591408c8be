"""``streamsv model``: which model is loaded, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.markdown import Markdown

from streamsv.cli import options, terminal
from streamsv.cli.calibrate import print_unseen
from streamsv.cli.groups import Command, Group, need_command
from streamsv.cli.options import ConfigOption, DebugOption, JsonOption

model = typer.Typer(cls=Group)

_NO_GUARD = "none: this model was exported without one, so sound that is no speech counts"


@model.callback(invoke_without_command=True)
def _model(context: typer.Context) -> None:
    """The model that is in use."""
    need_command(context)


@model.command(cls=Command)
def info(
    config: ConfigOption = None, as_json: JsonOption = False, _debug: DebugOption = False
) -> None:
    """What the model is, how it was made and what its scores were calibrated on."""
    engine = options.load_engine(config)
    encoder = engine.encoder
    card_file = encoder.path.with_name("CARD.md")
    text = card_file.read_text(encoding="utf-8") if card_file.is_file() else None
    facts: dict[str, Any] = {
        "path": str(encoder.path),
        "fingerprint": encoder.fingerprint,
        "license": encoder.license,
        "precision": encoder.precision,
        "dimension": encoder.dimension,
        "hop_s": encoder.hop_samples / encoder.sample_rate,
        "state_bytes": encoder.state_bytes,
        "speech_guard": encoder.speech_head.get("digest"),
    }
    card = dict(encoder.card)
    fitted_on = dict(engine.calibration.fitted_on)
    if as_json:
        made = {"config": encoder.config, "card": card, "fitted_on": fitted_on, "card_text": text}
        made["speech_guard_fitted_on"] = encoder.speech_head.get("fitted_on")
        terminal.write_json({"type": "model", **facts, **made})
        return
    output = terminal.output()
    output.fields(facts | {"speech_guard": facts["speech_guard"] or _NO_GUARD})
    if card:
        output.say()
        output.say("Made", style="bold")
        output.fields(card)
    if fitted_on:
        output.say()
        output.say("Calibrated on", style="bold")
        _print_calibration(fitted_on)
    if text is not None:
        output.say()
        if output.file.isatty():
            output.print(Markdown(text))
        else:
            output.say(text.rstrip())


def _print_calibration(fitted_on: dict[str, Any]) -> None:
    """What a calibration was fitted on: a row a set, then a row a channel and knot."""
    output = terminal.output()
    sets, channels = fitted_on.pop("sets", ()), fitted_on.pop("channels", {})
    rules = fitted_on.pop("out_of_fold", ())
    unseen: dict[str, Any] = {
        name: fitted_on.pop(name) for name in ("left_out", "long_calls") if name in fitted_on
    }
    if fitted_on:
        output.fields(fitted_on)
    if sets:
        columns = {"set": "set", "channel": "channel", "trials": "trials", "speakers": "speakers"}
        rows = [{**each, "channel": each.get("channel") or "as recorded"} for each in sets]
        output.say()
        _table(columns, rows)
    if channels:
        columns = {
            "channel": "channel",
            "net_speech_s": "speech",
            "targets": "targets",
            "impostors": "impostors",
            "target_speakers": "speakers",
            "cllr": "Cllr",
            "min_cllr": "min Cllr",
        }
        rows = [
            {**knot, "channel": name, "net_speech_s": f"{knot['net_speech_s']:g} s"}
            for name, knots in channels.items()
            for knot in knots
        ]
        output.say()
        _table(columns, rows)
    if rules:
        columns = {
            "channel": "channel",
            "promised_far": "promised",
            "far": "achieved",
            "impostor_speakers": "strangers",
            "accepted": "accepted",
            "accept_s": "accept s",
            "fixed_s": "one look s",
            "reject_s": "reject s",
        }
        output.say()
        output.say("Whole calls of people that took no part in the rule", style="bold")
        _table(columns, rules)
    print_unseen(unseen)


def _table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    terminal.output().table(tuple(columns.values()), cells)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
