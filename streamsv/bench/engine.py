"""What one session costs, alone on one core, from 16 kHz PCM to events.

Costs are CPU time of this process, so that other programs do not count; hop latencies are wall
time, because a caller waits for them. Sessions run one after another, one hop a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, encode_s16le
from streamsv.bench import sound
from streamsv.bench.machine import resident_mb
from streamsv.engine import Engine, VerificationSession
from streamsv.errors import ConfigError
from streamsv.events import SessionEnded
from streamsv.voiceprints import Voiceprint

Progress = Callable[[float, float, str], None]
"""Called now and then with the seconds of audio done, those in all, and what is measured."""

_CHUNK_BYTES = 2 * SAMPLE_RATE // 50
_SECOND_BYTES = 2 * SAMPLE_RATE
_WARM_UP_S = 4.0
_MINUTE_S = 60.0
_LEAST_S = 4.0
_NEVER_STORED = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a long session.

    Fields
    ------
    cost_s_per_s: CPU seconds for each second of audio in it.
    rss_mb: MiB of memory at its end, None where the system does not tell.
    """

    cost_s_per_s: float
    rss_mb: float | None


@dataclass(frozen=True, slots=True)
class LongSession:
    """One session of ``minutes``, at three places: its first second, its first and last minute.

    Both minutes, or halves of a session below two, are of the same audio.
    """

    minutes: float
    first_second: Stretch
    first_minute: Stretch
    last_minute: Stretch


@dataclass(frozen=True, slots=True)
class EngineCost:
    """What was measured; `to_dict` is the JSON form.

    Fields
    ------
    seconds: audio behind each figure but those of ``hour``.
    streams_per_core: streams in real time on one core, by the kind of audio: ``voiced`` without
        a pause, ``call`` with 45 % speech.
    speech_share: how much of that audio was admitted, as a fraction.
    hop_ms: wall time of a hop, from due to scored: percentiles ``p50``, ``p95``, ``p99``.
    state_bytes: the network's state of one stream.
    matrix_rate_fraction: multiply-adds that the hops made against those that matrix products
        would have made in the same CPU time; None where either is not known.
    """

    seconds: float
    streams_per_core: dict[str, float]
    speech_share: dict[str, float]
    hop_ms: dict[str, float]
    state_bytes: int
    matrix_rate_fraction: float | None
    hour: LongSession

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        places = ("first_second", "first_minute", "last_minute")
        stretches: dict[str, Stretch] = {name: getattr(self.hour, name) for name in places}
        return {
            "seconds": self.seconds,
            "streams_per_core": self.streams_per_core,
            "speech_share": self.speech_share,
            "hop_ms": self.hop_ms,
            "state_bytes": self.state_bytes,
            "matrix_rate_fraction": self.matrix_rate_fraction,
            "hour": {
                "minutes": self.hour.minutes,
                "cost_s_per_s": {name: s.cost_s_per_s for name, s in stretches.items()},
                "rss_mb": {name: s.rss_mb for name, s in stretches.items()},
            },
        }


def measure_engine(
    engine: Engine,
    seconds: float = 20.0,
    minutes: float = 60.0,
    matrix_gflops: float | None = None,
    progress: Progress | None = None,
) -> EngineCost:
    """Measure ``engine`` on ``seconds`` of each kind of audio, and one session of ``minutes``.

    ``matrix_gflops`` is the machine's, as in `streamsv.bench.machine.Machine`. The share of it
    that is reached needs ``macs_per_hop`` in the model's card.

    Raises `ConfigError` for less than 4 s of either.
    """
    for name, length_s in (("seconds", seconds), ("minutes", minutes * 60)):
        if not _LEAST_S <= length_s < float("inf"):
            raise ConfigError(
                f"{name} stands for {length_s:g} s of audio; use at least {_LEAST_S:g} s.",
                length_s,
            )
    done, total = 0.0, 3 * seconds + minutes * 60

    def advance(label: str, by_s: float) -> None:
        nonlocal done
        done += by_s
        if progress:
            progress(done, total, label)

    voiceprint = _warmed_up(engine)
    gate = engine.config.gate
    streams_per_core, speech_share = {}, {}
    for kind, pcm in (
        ("voiced", sound.voiced_audio(seconds, gate)),
        ("call", sound.call_audio(seconds, gate)),
    ):
        cost_s, net_speech_s = _cost(engine, voiceprint, encode_s16le(pcm))
        streams_per_core[kind] = seconds / cost_s
        speech_share[kind] = net_speech_s / seconds
        advance(f"streams, {kind}", seconds)
    hops_s, cpu_s = _hops(engine, voiceprint, encode_s16le(sound.voiced_audio(seconds, gate)))
    percentiles = np.percentile(hops_s, [50, 95, 99]) * 1000
    advance("lone hops", seconds)
    return EngineCost(
        seconds=seconds,
        streams_per_core=streams_per_core,
        speech_share=speech_share,
        hop_ms=dict(zip(("p50", "p95", "p99"), map(float, percentiles), strict=True)),
        state_bytes=engine.encoder.state_bytes,
        matrix_rate_fraction=_matrix_rate_fraction(engine, cpu_s / len(hops_s), matrix_gflops),
        hour=_long_session(engine, voiceprint, minutes, advance),
    )


def _warmed_up(engine: Engine) -> Voiceprint:
    """A voiceprint to compare with; making it brings everything into the caches."""
    session = engine.enroll("bench", force=True)
    session.push(encode_s16le(sound.clips()[0][: round(_WARM_UP_S * SAMPLE_RATE)]))
    session.finish()
    return session.voiceprint(_NEVER_STORED)


def _chunks(data: bytes) -> Iterator[bytes]:
    """20 ms at a time, as telephony sends it."""
    for start in range(0, len(data), _CHUNK_BYTES):
        yield data[start : start + _CHUNK_BYTES]


def _cost(engine: Engine, voiceprint: Voiceprint, data: bytes) -> tuple[float, float]:
    """CPU seconds of one session over ``data``, and its net speech."""
    start = time.process_time()
    session = engine.verify(voiceprint)
    for chunk in _chunks(data):
        session.push(chunk)
    events = session.finish()
    cost_s = time.process_time() - start
    return cost_s, sum(e.net_speech_s for e in events if isinstance(e, SessionEnded))


def _hops(engine: Engine, voiceprint: Voiceprint, data: bytes) -> tuple[NDArray[np.float64], float]:
    """Wall seconds of each hop, and CPU seconds of the network in all of them."""
    session = engine.verify(voiceprint)
    walls: list[float] = []
    cpu_s = 0.0
    for chunk in _chunks(data):
        session.feed(chunk)
        begun = time.perf_counter()
        while (hop := session.next_hop()) is not None:
            cpu_begun = time.process_time()
            embedding, state = engine.encoder.step(hop.pcm, hop.state)
            cpu_s += time.process_time() - cpu_begun
            session.complete(hop, embedding[0], state)
            now = time.perf_counter()
            walls.append(now - begun)
            begun = now
    return np.array(walls, dtype=np.float64), cpu_s


def _matrix_rate_fraction(
    engine: Engine, hop_cpu_s: float, matrix_gflops: float | None
) -> float | None:
    macs = engine.encoder.card.get("macs_per_hop")
    if not isinstance(macs, int | float) or not matrix_gflops or not hop_cpu_s:
        return None
    return 2 * macs / hop_cpu_s / (matrix_gflops * 1e9)


def _long_session(
    engine: Engine,
    voiceprint: Voiceprint,
    minutes: float,
    advance: Callable[[str, float], None],
) -> LongSession:
    total_s = int(minutes * 60)
    window_s = min(int(_MINUTE_S), total_s // 2)
    data = encode_s16le(sound.mixed_audio(window_s))
    session = engine.verify(voiceprint)
    first_second = _run(session, data[:_SECOND_BYTES])
    rest = _run(session, data[_SECOND_BYTES:])
    first_cost_s = first_second.cost_s_per_s + rest.cost_s_per_s * (window_s - 1)
    first = Stretch(first_cost_s / window_s, rest.rss_mb)
    label = f"one session of {minutes:g} min"
    advance(label, window_s)
    last = first
    heard_s = window_s
    while heard_s < total_s:
        # What is less than a window comes at once, so that the last one is whole.
        length_s = (total_s - heard_s) % window_s or window_s
        last = _run(session, data[: length_s * _SECOND_BYTES])
        heard_s += length_s
        advance(label, length_s)
    session.finish()
    return LongSession(minutes, first_second, first, last)


def _run(session: VerificationSession, data: bytes) -> Stretch:
    start = time.process_time()
    for chunk in _chunks(data):
        session.push(chunk)
    cost_s = time.process_time() - start
    return Stretch(cost_s * _SECOND_BYTES / len(data), resident_mb())
