"""What the engine costs on one core, from 16 kHz PCM to events: many sessions, and one alone.

Costs are CPU time of this process, so that other programs do not count; a lone session's hop
latencies are wall time, because a caller waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from streamsv.audio import SAMPLE_RATE, encode_s16le
from streamsv.bench import sound
from streamsv.bench.machine import resident_mb
from streamsv.bench.matrix import MatrixRates
from streamsv.bench.streams import (
    EncoderCost,
    LoadedHops,
    StreamsCost,
    encoder_alone,
    measure_loaded_hops,
    measure_streams,
    packets,
    percentiles_ms,
)
from streamsv.engine import Engine, VerificationSession
from streamsv.errors import ConfigError
from streamsv.voiceprints import Voiceprint

Progress = Callable[[float, float, str], None]
"""Called now and then with the seconds of audio done, those in all, and what is measured."""

_SECOND_BYTES = 2 * SAMPLE_RATE
_WARM_UP_S = 4.0
_MINUTE_S = 60.0
_LEAST_S = 4.0
_LOAD = 0.7
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
    streams: what many sessions cost that are stepped together, by the kind of audio: ``voiced``
        without a pause, ``call`` with 45 % speech.
    lone_streams_per_core: streams of unbroken speech in real time on one core, if each were run
        alone.
    encoder: the network alone, in batches.
    hop_ms: wall time of a lone session's hop, from due to scored: percentiles ``p50``, ``p95``,
        ``p99``.
    loaded: hops of as many sessions of unbroken speech as make a core 70 % busy.
    state_bytes: the network's state of one stream.
    matrix_rate_fraction: what the network's multiply-adds, each in its precision, would take as
        large matrix products, against what they take in batches; None where either is not known.
    """

    seconds: float
    streams: dict[str, StreamsCost]
    lone_streams_per_core: float
    encoder: EncoderCost
    hop_s: float
    hop_ms: dict[str, float]
    loaded: LoadedHops
    state_bytes: int
    matrix_rate_fraction: float | None
    hour: LongSession

    @property
    def encoder_streams_per_core(self) -> float:
        """Streams of unbroken speech that the network alone would carry."""
        return self.hop_s / self.encoder.hop_s

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        places = ("first_second", "first_minute", "last_minute")
        stretches: dict[str, Stretch] = {name: getattr(self.hour, name) for name in places}
        return {
            "seconds": self.seconds,
            "streams_per_core": {k: each.streams_per_core for k, each in self.streams.items()},
            "lone_streams_per_core": self.lone_streams_per_core,
            "encoder_streams_per_core": self.encoder_streams_per_core,
            "encoder_batch": self.encoder.batch,
            "speech_share": {kind: each.speech_share for kind, each in self.streams.items()},
            "sessions": {kind: each.sessions for kind, each in self.streams.items()},
            "batch": {kind: each.batch for kind, each in self.streams.items()},
            "updates_per_hop": {kind: each.updates_per_hop for kind, each in self.streams.items()},
            "profile_us": {kind: each.profile for kind, each in self.streams.items()},
            "hop_ms": self.hop_ms,
            "loaded": asdict(self.loaded),
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
    sessions: int = 300,
    matrix_rates: MatrixRates | None = None,
    progress: Progress | None = None,
) -> EngineCost:
    """Measure ``engine`` on ``seconds`` of each kind of audio, and one session of ``minutes``.

    ``sessions`` hear unbroken speech together, each from another place in it, and twice as many
    call audio, in which less than half is speech.

    ``matrix_rates`` are the machine's, as in `streamsv.bench.machine.Machine`. The share of it
    that is reached needs ``macs_per_hop`` in the model's card.

    Raises `ConfigError` for less than 4 s of either, and for no session.
    """
    if sessions < 1:
        raise ConfigError(f"sessions is {sessions}; use at least 1.", sessions)
    for name, length_s in (("seconds", seconds), ("minutes", minutes * 60)):
        if not _LEAST_S <= length_s < float("inf"):
            raise ConfigError(
                f"{name} stands for {length_s:g} s of audio; use at least {_LEAST_S:g} s.",
                length_s,
            )
    done, total = 0.0, 4 * seconds + minutes * 60

    def advance(label: str, by_s: float) -> None:
        nonlocal done
        done += by_s
        if progress:
            progress(done, total, label)

    voiceprint = _warmed_up(engine)
    gate = engine.config.gate
    voiced = encode_s16le(sound.voiced_audio(seconds, gate))
    streams = {}
    for kind, count, data in (
        ("voiced", sessions, voiced),
        ("call", 2 * sessions, encode_s16le(sound.call_audio(seconds, gate))),
    ):
        streams[kind] = measure_streams(engine, voiceprint, data, count)
        advance(f"{count} sessions, {kind}", seconds)
    busy = max(1, round(_LOAD * streams["voiced"].streams_per_core))
    loaded_s = min(seconds, _LEAST_S)
    loaded = measure_loaded_hops(
        engine, voiceprint, voiced[: round(loaded_s * SAMPLE_RATE) * 2], busy, _LOAD
    )
    advance(f"{busy} sessions in real time", seconds)
    hops_s, lone_s = _hops(engine, voiceprint, voiced)
    advance("a lone session", seconds)
    encoder = encoder_alone(engine.encoder)
    return EngineCost(
        seconds=seconds,
        streams=streams,
        lone_streams_per_core=seconds / lone_s,
        encoder=encoder,
        hop_s=engine.encoder.hop_samples / engine.encoder.sample_rate,
        hop_ms=percentiles_ms(hops_s),
        loaded=loaded,
        state_bytes=engine.encoder.state_bytes,
        matrix_rate_fraction=_matrix_rate_fraction(engine, encoder.hop_s, matrix_rates),
        hour=_long_session(engine, voiceprint, minutes, advance),
    )


def _warmed_up(engine: Engine) -> Voiceprint:
    """A voiceprint to compare with; making it brings everything into the caches."""
    session = engine.enroll("bench", force=True)
    session.push(encode_s16le(sound.clips()[0][: round(_WARM_UP_S * SAMPLE_RATE)]))
    session.finish()
    return session.voiceprint(_NEVER_STORED)


def _hops(engine: Engine, voiceprint: Voiceprint, data: bytes) -> tuple[list[float], float]:
    """Wall seconds of each hop of a lone session over ``data``, and CPU seconds of it all."""
    session = engine.verify(voiceprint)
    walls_s: list[float] = []
    cpu_begun = time.process_time()
    for packet in packets(data):
        session.feed(packet)
        begun = time.perf_counter()
        while (hop := session.next_hop()) is not None:
            embedding, state = engine.encoder.step(hop.pcm, hop.state)
            session.complete(hop, embedding[0], state)
            now = time.perf_counter()
            walls_s.append(now - begun)
            begun = now
    return walls_s, time.process_time() - cpu_begun


def _matrix_rate_fraction(
    engine: Engine, hop_cpu_s: float, rates: MatrixRates | None
) -> float | None:
    macs = engine.encoder.card.get("macs_per_hop")
    in_int8 = engine.encoder.card.get("int8_macs_per_hop", 0)
    if not isinstance(macs, int | float) or rates is None or not hop_cpu_s:
        return None
    return rates.least_s(macs - in_int8, in_int8) / hop_cpu_s


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
    for packet in packets(data):
        session.push(packet)
    cost_s = time.process_time() - start
    return Stretch(cost_s * _SECOND_BYTES / len(data), resident_mb())
