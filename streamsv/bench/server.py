"""How many calls one server carries: `streamsv serve` and a load generator on this machine.

The server runs in a process of its own, without a key and so for this machine only, on a store
that is made for it and thrown away. Calls are added until the 99th percentile of packet-to-score
passes 300 ms, something is lost, or the server says that it has no room.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamsv.audio import SAMPLE_RATE, Resampler, encode_mulaw, encode_s16le
from streamsv.bench import sound
from streamsv.bench.calls import (
    PACKET_BYTES,
    PACKET_S,
    TELEPHONE_RATE,
    Call,
    Talk,
    dial,
    frames_of,
)
from streamsv.bench.histogram import Histogram, counter_in, histogram_in
from streamsv.bench.streams import percentiles_ms
from streamsv.engine import Engine
from streamsv.errors import CapacityError, ConfigError, ProtocolError
from streamsv.voiceprints import VoiceprintStore

MAX_P99_MS = 300.0
LATENCY = "streamsv_packet_to_score_seconds"
SHED = "streamsv_shed_hops_total"

_HOST = "127.0.0.1"
_SPEAKER = "bench"
_READY_WITHIN_S = 60.0
_ENROLLED_S = 12.0
_LOOP_S = 28.0
_CONNECTIONS_AT_ONCE = 8
_SETTLE_S = 1.0
_RETRY_S = 1.0
_TRIES = 10
_PACKETS_PER_HOP = 4
_UNBOUNDED = 1e6


@dataclass(frozen=True, slots=True)
class Step:
    """What ``calls`` at a time were like.

    Fields
    ------
    packet_to_score_ms: percentiles that the server counted, from reading the packet that completes
        a hop to writing its score.
    score_age_ms: percentiles that the callers saw, from the moment when the packet in which a
        score's ``at_s`` lies was due to having the score; resampler and gate hold some of that
        back by design.
    late_ms: percentiles of how late the load generator itself was.
    lost_packets: audio that the server says it lost, and hops that it shed, in packets; at the
        last step also what was sent and never acknowledged.
    """

    calls: int
    scores: int
    packet_to_score_ms: dict[str, float]
    score_age_ms: dict[str, float]
    late_ms: dict[str, float]
    lost_packets: int

    @property
    def is_good(self) -> bool:
        """Whether all scores came in time and nothing was lost."""
        return not self.lost_packets and self.packet_to_score_ms["p99"] <= MAX_P99_MS


@dataclass(frozen=True, slots=True)
class ServerCost:
    """The most calls that were carried well, and every step on the way.

    ``ended_by`` is why no more calls were added: ``p99``, ``lost_packets``, ``capacity`` (the
    server refused one more), ``failed`` (it broke one off) or ``max_calls``.
    """

    steps: tuple[Step, ...]
    speech_share: float
    ended_by: str

    @property
    def best(self) -> Step | None:
        """The step with the most calls of those that were good."""
        return max((s for s in self.steps if s.is_good), key=lambda s: s.calls, default=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        best = self.best
        shown = best or self.steps[-1]
        return {
            "calls": best.calls if best else 0,
            "packet_to_score_ms": shown.packet_to_score_ms,
            "lost_packets": shown.lost_packets,
            "speech_share": self.speech_share,
            "ended_by": self.ended_by,
            "steps": [asdict(step) for step in self.steps],
        }


def measure_server(
    engine: Engine,
    engine_config: Path | None = None,
    step_calls: int = 25,
    max_calls: int = 1000,
    hold_s: float = 10.0,
    advance: Callable[[str], None] | None = None,
) -> ServerCost:
    """Start a server and call it, ``step_calls`` more at a time, each number for ``hold_s``.

    ``engine_config`` is the file that ``engine`` was made from, if any. The calls are one side of
    telephone calls with 45 % speech. Raises `ConfigError` if the server does not start, with what
    it said, `CapacityError` if it has no room for the first calls, and `ProtocolError` if it ends
    one of them.
    """
    if step_calls < 1 or max_calls < step_calls or hold_s < PACKET_S:
        raise ConfigError(
            "The server is called with at least one call, for at least 20 ms.", step_calls
        )
    with tempfile.TemporaryDirectory(prefix="streamsv-bench-") as folder:
        store = Path(folder) / "voiceprints.db"
        _enroll(engine, store)
        with (
            running_server(Path(folder), store, max_calls, engine_config) as port,
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            return runner.run(ramp(_HOST, port, engine, step_calls, max_calls, hold_s, advance))


async def ramp(
    host: str,
    port: int,
    engine: Engine,
    step_calls: int,
    max_calls: int,
    hold_s: float,
    advance: Callable[[str], None] | None = None,
) -> ServerCost:
    """Call the server at ``host`` and ``port``; see `measure_server`."""
    frames = frames_of(encode_mulaw(_telephone(sound.call_audio(_LOOP_S, engine.config.gate))))
    talk = Talk(frames)
    talking = asyncio.create_task(talk.run())
    steps: list[Step] = []
    ended_by = "max_calls"
    try:
        while len(talk.calls) + step_calls <= max_calls:
            try:
                await _call_more(host, port, talk, step_calls)
            except CapacityError:
                ended_by = "capacity"
                break
            await asyncio.sleep(_SETTLE_S)
            step = await _one_step(host, port, talk, hold_s)
            steps.append(step)
            if advance:
                advance(f"{step.calls} calls, p99 {step.packet_to_score_ms['p99']:.0f} ms")
            if any(call.is_over for call in talk.calls):
                ended_by = "failed"
                break
            if not step.is_good:
                ended_by = "lost_packets" if step.lost_packets else "p99"
                break
    finally:
        talk.stop()
        await talking
    unacknowledged = await _hang_up(talk.calls)
    if not steps:
        raise CapacityError(f"The server has no room for {step_calls} calls.", _RETRY_S)
    last = steps[-1]
    if unacknowledged:
        steps[-1] = dataclasses.replace(last, lost_packets=last.lost_packets + unacknowledged)
        ended_by = "lost_packets" if ended_by in ("capacity", "max_calls") else ended_by
    return ServerCost(tuple(steps), sound.CALL_SPEECH_SHARE, ended_by)


async def _call_more(host: str, port: int, talk: Talk, calls: int) -> None:
    """Add ``calls``, a few at a time, and wait a little where the server has no room at once."""
    wanted, tries = len(talk.calls) + calls, 0
    while len(talk.calls) < wanted:
        some = min(_CONNECTIONS_AT_ONCE, wanted - len(talk.calls))
        dialed = await asyncio.gather(
            *(dial(host, port, _SPEAKER) for _ in range(some)), return_exceptions=True
        )
        talk.calls += [each for each in dialed if isinstance(each, Call)]
        refused = [each for each in dialed if isinstance(each, BaseException)]
        for error in refused:
            if not isinstance(error, CapacityError) or tries == _TRIES:
                raise error
        if refused:
            tries += 1
            await asyncio.sleep(_RETRY_S)


async def _one_step(host: str, port: int, talk: Talk, hold_s: float) -> Step:
    """What the calls of ``talk`` are like for ``hold_s``."""
    before = await asyncio.to_thread(_metrics, host, port)
    heard = [call.heard for call in talk.calls]
    seen = [len(each.ages_s) for each in heard]
    gap_s, late = sum(each.gap_s for each in heard), len(talk.late_s)
    await asyncio.sleep(hold_s)
    after = await asyncio.to_thread(_metrics, host, port)
    latency = histogram_in(after, LATENCY) - histogram_in(before, LATENCY)
    shed = counter_in(after, SHED) - counter_in(before, SHED)
    lost_s = sum(each.gap_s for each in heard) - gap_s
    ages_s = [age for each, start in zip(heard, seen, strict=True) for age in each.ages_s[start:]]
    return Step(
        calls=len(talk.calls),
        scores=len(ages_s),
        packet_to_score_ms=_percentiles_ms(latency),
        score_age_ms=percentiles_ms(ages_s),
        late_ms=percentiles_ms(talk.late_s[late:]),
        lost_packets=round(lost_s / PACKET_S + shed * _PACKETS_PER_HOP),
    )


async def _hang_up(calls: list[Call]) -> int:
    """End all calls. Gives the packets that the server never acknowledged."""
    for start in range(0, len(calls), _CONNECTIONS_AT_ONCE):
        await asyncio.gather(
            *(call.stop() for call in calls[start : start + _CONNECTIONS_AT_ONCE]),
            return_exceptions=True,
        )
    return sum(_unacknowledged(call) for call in calls)


@contextlib.contextmanager
def running_server(
    folder: Path, store: Path, max_calls: int, engine_config: Path | None = None
) -> Iterator[int]:
    """`streamsv serve` on ``store`` and a free port of this machine, which is given.

    Raises `ConfigError`, with what the server said, if it does not become ready.
    """
    port = _free_port()
    settings = folder / "serve.yaml"
    settings.write_text(json.dumps(_settings(folder, max_calls, engine_config)), encoding="utf-8")
    command = [sys.executable, "-m", "streamsv", "serve", "--host", _HOST, "--port", str(port)]
    command += ["--config", str(settings), "--store", str(store)]
    said = folder / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(process, port, said)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _settings(folder: Path, max_calls: int, engine_config: Path | None) -> dict[str, Any]:
    """What `serve` is configured with; JSON is YAML.

    It admits everybody: it is the latency of their scores that shows how many are too many.
    """
    room = 2 * max_calls + 100
    return {
        "engine": None if engine_config is None else str(engine_config.resolve()),
        "keys": str(folder / "keys.db"),
        "admission": {
            "max_sessions": room,
            "max_utilization": _UNBOUNDED,
            "max_delay_ms": _UNBOUNDED,
        },
        "audit": {"path": str(folder / "audit.jsonl")},
        "limits": {
            "connections_per_key": room,
            "connections_per_address": room,
            "sessions_per_key": room,
            "sessions_per_address": room,
        },
    }


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    until = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{_HOST}:{port}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    words = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = words[-1] if words else "nothing"
    raise ConfigError(f"`streamsv serve` did not become ready; the last it said: {last}", last)


def _metrics(host: str, port: int) -> str:
    url = f"http://{host}:{port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode("utf-8"))
    except (urllib.error.URLError, OSError) as error:
        raise ProtocolError(f"The server's metrics cannot be read: {error}.", url) from error


def _enroll(engine: Engine, store: Path) -> None:
    session = engine.enroll(_SPEAKER, force=True)
    session.push(encode_s16le(sound.voiced_audio(_ENROLLED_S, engine.config.gate)))
    session.finish()
    with VoiceprintStore(store) as voiceprints:
        voiceprints.add(session.voiceprint("1970-01-01T00:00:00Z"))


def _unacknowledged(call: Call) -> int:
    in_gaps = round(call.heard.gap_s * TELEPHONE_RATE)
    missing = call.sent_packets * PACKET_BYTES - call.heard.acknowledged - in_gaps
    return max(0, -(-missing // PACKET_BYTES))


def _percentiles_ms(latency: Histogram) -> dict[str, float]:
    return {f"p{q}": 1000 * latency.quantile(q / 100) for q in (50, 95, 99)}


def _telephone(pcm: sound.Floats) -> sound.Floats:
    resampler = Resampler(SAMPLE_RATE, TELEPHONE_RATE)
    return np.concatenate([resampler.push(pcm), resampler.finish()])


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The load generator shares the machine with the server, so it uses the leaner event loop."""
    try:
        import uvloop
    except ModuleNotFoundError:  # not to be had on this system
        return None
    return uvloop.new_event_loop


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
