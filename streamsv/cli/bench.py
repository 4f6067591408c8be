"""``streamsv bench``: what it costs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streamsv.cli import options, terminal
from streamsv.cli.exits import UsageError
from streamsv.cli.options import ConfigOption, DebugOption, JsonOption

if TYPE_CHECKING:
    from streamsv.bench.report import BenchReport


def bench(
    minutes: Annotated[
        float, typer.Option("--minutes", help="Length of the long session, in media time.")
    ] = 60.0,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Audio behind each of the other figures.")
    ] = 20.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Measure what a stream costs here: streams a core, latency, memory, an hour of audio.

    With the defaults it takes a minute or two; `--minutes 1` takes seconds.
    """
    for name, value, least in (("seconds", seconds, 4.0), ("minutes", minutes, 0.1)):
        if not value >= least:
            raise UsageError(f"--{name} must be at least {least:g}.")
    from streamsv.bench.report import bench as measure

    engine = options.load_engine(config)
    with terminal.progress() as advance:
        report = measure(engine, seconds, minutes, progress=advance)
    if as_json:
        terminal.write_json({"type": "bench", **report.to_dict()})
    else:
        _print(report)


def _print(report: BenchReport) -> None:
    machine, cost = report.machine, report.engine
    output = terminal.output()
    output.say(
        f"{machine.processor or 'unknown processor'}, {machine.cores} cores, {machine.system}, "
        f"Python {machine.python}, onnxruntime {machine.onnxruntime}, streamsv {machine.streamsv}"
    )
    output.say()
    facts = {
        f"streams a core, {kind}": f"{streams:.0f} "
        f"({100 * cost.speech_share[kind]:.0f} % of the audio is speech)"
        for kind, streams in cost.streams_per_core.items()
    }
    facts |= {f"hop, {name}": f"{value:.2f} ms" for name, value in cost.hop_ms.items()}
    facts["state of a stream"] = f"{cost.state_bytes / 1024:.1f} KiB"
    if cost.matrix_rate_fraction is not None:
        share = f"{100 * cost.matrix_rate_fraction:.0f} %"
        facts["speed of the network"] = f"{share} of what large matrix products reach here"
    output.fields(facts)
    output.say()
    output.say(f"one session of {cost.hour.minutes:g} min")
    rows = [
        (
            name,
            f"{1000 * stretch.cost_s_per_s:.2f} ms/s",
            "-" if stretch.rss_mb is None else f"{stretch.rss_mb:.0f} MiB",
        )
        for name, stretch in (
            ("first second", cost.hour.first_second),
            ("first minute", cost.hour.first_minute),
            ("last minute", cost.hour.last_minute),
        )
    ]
    output.table(("", "CPU time", "process memory"), rows)
