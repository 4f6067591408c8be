"""``streamsv model``: which model is loaded, and how it was made."""

from __future__ import annotations

from typing import Any

import typer
from rich.markdown import Markdown

from streamsv.cli import options, terminal
from streamsv.cli.options import ConfigOption, DebugOption, JsonOption

model = typer.Typer(help="The model that is in use.")


@model.callback()
def _model() -> None:
    """The model that is in use."""


@model.command()
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
        "dimension": encoder.dimension,
        "hop_s": encoder.hop_samples / encoder.sample_rate,
        "state_bytes": encoder.state_bytes,
    }
    card = dict(encoder.card)
    fitted_on = dict(engine.calibration.fitted_on)
    if as_json:
        made = {"config": encoder.config, "card": card, "fitted_on": fitted_on, "card_text": text}
        terminal.write_json({"type": "model", **facts, **made})
        return
    output = terminal.output()
    output.fields(facts)
    for heading, fields in (("Made", card), ("Calibrated on", fitted_on)):
        if fields:
            output.say()
            output.say(heading, style="bold")
            output.fields(fields)
    if text is not None:
        output.say()
        if output.file.isatty():
            output.print(Markdown(text))
        else:
            output.say(text.rstrip())
