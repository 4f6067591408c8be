"""``streamsv bench``: what it costs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streamsv.cli import options, terminal
from streamsv.cli.exits import UsageError
from streamsv.cli.options import ConfigOption, DebugOption, JsonOption

if TYPE_CHECKING:
    from streamsv.bench.engine import EngineCost, LongSession
    from streamsv.bench.report import BenchReport
    from streamsv.bench.server import ServerCost


def bench(
    minutes: Annotated[
        float, typer.Option("--minutes", help="Length of the long session, in media time.")
    ] = 60.0,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Audio behind each of the other figures.")
    ] = 20.0,
    sessions: Annotated[
        int,
        typer.Option(
            "--sessions",
            help="Sessions of unbroken speech that are stepped together; of calls, twice.",
        ),
    ] = 300,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            "--rival",
            metavar="NAME|FILE",
            help="Measure resemblyzer, or an encoder of Kaldi filterbanks in an .onnx file, in the "
            "same run. May be repeated.",
        ),
    ] = None,
    server: Annotated[
        bool, typer.Option("--server", help="Also call a server, until it is too slow.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Measure what a stream costs here: streams a core, latency, memory, an hour of audio.

    With the defaults it takes a few minutes; `--minutes 1 --seconds 4` takes seconds.
    """
    for name, value, least in (
        ("seconds", seconds, 4.0),
        ("minutes", minutes, 0.1),
        ("sessions", sessions, 1),
    ):
        if not value >= least:
            raise UsageError(f"--{name} must be at least {least:g}.")
    from streamsv.bench.report import bench as measure

    engine = options.load_engine(config)
    with terminal.progress() as advance:
        report = measure(
            engine,
            seconds,
            minutes,
            sessions,
            rival or (),
            with_server=server,
            engine_config=config,
            progress=advance,
        )
    if as_json:
        terminal.write_json({"type": "bench", **report.to_dict()})
    else:
        _print(report)


def _print(report: BenchReport) -> None:
    machine = report.machine
    output = terminal.output()
    output.say(
        f"{machine.processor or 'unknown processor'}, {machine.cores} cores, {machine.system}, "
        f"Python {machine.python}, onnxruntime {machine.onnxruntime}, streamsv {machine.streamsv}"
        f"{', compiled' if machine.is_compiled else ''}"
    )
    output.say()
    _print_engine(report.engine)
    if report.rivals:
        _print_rivals(report)
    if report.server:
        _print_server(report.server)


def _print_engine(cost: EngineCost) -> None:
    output = terminal.output()
    facts = {
        f"streams a core, {kind}": f"{each.streams_per_core:.0f} "
        f"({100 * each.speech_share:.0f} % of the audio is speech; {each.sessions} sessions "
        f"together, {each.batch:.0f} hops a batch)"
        for kind, each in cost.streams.items()
    }
    facts["one by one, voiced"] = f"{cost.lone_streams_per_core:.0f}"
    facts["the network alone, voiced"] = (
        f"{cost.encoder_streams_per_core:.0f} ({cost.encoder.batch} hops a batch)"
    )
    facts |= {f"hop, {name}": f"{value:.2f} ms" for name, value in cost.hop_ms.items()}
    loaded = cost.loaded
    facts |= {
        f"hop of {loaded.sessions}, {name}": f"{value:.2f} ms "
        f"(in real time, {100 * loaded.load:.0f} % of a core)"
        for name, value in loaded.hop_ms.items()
    }
    facts["state of a stream"] = f"{cost.state_bytes / 1024:.1f} KiB"
    if cost.matrix_rate_fraction is not None:
        share = f"{100 * cost.matrix_rate_fraction:.0f} %"
        facts["speed of the network"] = f"{share} of what large matrix products reach here"
    output.fields(facts)
    output.say()
    output.say("where it goes, CPU time for 80 ms of audio")
    profiles = [each.profile for each in cost.streams.values()]
    parts = [
        (part, *(f"{profile[part]:.1f} \N{MICRO SIGN}s" for profile in profiles))
        for part in profiles[0]
    ]
    output.table(("", *cost.streams), parts)
    output.say()
    _print_hour(cost.hour)


def _print_hour(hour: LongSession) -> None:
    output = terminal.output()
    output.say(f"one session of {hour.minutes:g} min")
    rows = [
        (
            name,
            f"{1000 * stretch.cost_s_per_s:.2f} ms/s",
            "-" if stretch.rss_mb is None else f"{stretch.rss_mb:.0f} MiB",
        )
        for name, stretch in (
            ("first second", hour.first_second),
            ("first minute", hour.first_minute),
            ("last minute", hour.last_minute),
        )
    ]
    output.table(("", "CPU time", "process memory"), rows)


def _print_rivals(report: BenchReport) -> None:
    output = terminal.output()
    voiced = report.engine.streams["voiced"].streams_per_core
    rows = [
        (
            f"{name}: {cost.name}" if name != cost.name else name,
            f"{cost.streams_per_core:.2f}",
            f"{cost.update_ms:.1f} ms",
            f"{voiced / cost.streams_per_core:.0f} times",
        )
        for name, cost in report.rivals.items()
    ]
    first = next(iter(report.rivals.values()))
    output.say()
    output.say(
        f"rivals, which embed the last {first.window_s:g} s anew every "
        f"{1000 * first.interval_s:g} ms"
    )
    output.table(("", "streams a core, voiced", "an update", "streamsv carries"), rows)


def _print_server(cost: ServerCost) -> None:
    output = terminal.output()
    output.say()
    output.say(
        f"server and callers on this machine, {100 * cost.speech_share:.0f} % speech; "
        f"ended by: {cost.ended_by}"
    )
    rows = [
        (
            f"{step.calls}",
            *(f"{step.packet_to_score_ms[name]:.0f} ms" for name in ("p50", "p95", "p99")),
            f"{step.lost_packets}",
        )
        for step in cost.steps
    ]
    output.table(("calls", "packet to score, p50", "p95", "p99", "lost packets"), rows)
