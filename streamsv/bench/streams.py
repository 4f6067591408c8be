"""What many sessions cost that share one core and are stepped together.

One process, one thread: each session is fed its 20 ms packets in turn, and whoever has a hop due
is stepped by a :class:`~streamsv.encoder.Batcher`. The sessions begin at different moments and at
different places of the audio, so that no more of them are due at once than by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFormat, Decoder, SpeechGate
from streamsv.audio.level import FRAME_SAMPLES
from streamsv.encoder import Batcher, Encoder
from streamsv.encoder.slots import Bench
from streamsv.engine import Engine, VerificationSession
from streamsv.engine.collector import spared_collector
from streamsv.events import ScoreUpdated, SessionEnded
from streamsv.voiceprints import Voiceprint

PACKET_S = 0.02
MAX_BATCH = 128

_PACKET_BYTES = 2 * round(PACKET_S * SAMPLE_RATE)
_STAGGER_PACKETS = 12
"""240 ms: after that packets, the gate's frames and hops all begin together again."""
_ALONE_BATCH = 64
_ALONE_S = 0.5
_ALONE_HOPS = 12
_SCORED_HOPS = 1000


@dataclass(frozen=True, slots=True)
class StreamsCost:
    """What ``sessions`` cost together.

    Fields
    ------
    streams_per_core: audio seconds of all sessions for each CPU second.
    speech_share: how much of the audio was admitted, as a fraction.
    batch: hops in one call of the network, on average.
    updates_per_hop: ``score_updated`` for each hop: 1 means an update every hop. A hop that was
        taken for background gives none.
    profile: CPU microseconds for each 80 ms of audio, by part; they add up to the whole.
        ``decode``, ``gate``, ``encoder`` and ``scoring and events`` are measured alone on the same
        audio, one stream after another: their code and memory are in the cache. ``hops and queue``
        is the rest of what feeding costs: packets that wait, and hops that are put together.
        ``batching`` is the rest of a step: finding who is due, and copying states to and from the
        network. Both rests also hold what every part costs more when hundreds of streams take
        turns in the cache.
    """

    sessions: int
    streams_per_core: float
    speech_share: float
    batch: float
    updates_per_hop: float
    profile: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EncoderCost:
    """The network alone, in batches of ``batch``: CPU seconds of one stream's hop."""

    batch: int
    hop_s: float


@dataclass(frozen=True, slots=True)
class LoadedHops:
    """Hops of ``sessions`` whose packets come in real time, at ``load`` of the core's capacity.

    Fields
    ------
    hop_ms: percentiles ``p50``, ``p95``, ``p99`` of the time from the packet that completes a hop
        to its scored event.
    """

    sessions: int
    load: float
    hop_ms: dict[str, float]


def encoder_alone(encoder: Encoder, batch: int = _ALONE_BATCH) -> EncoderCost:
    """Step the network for half a second of CPU time, with ``batch`` streams in each call.

    As a batcher runs it, over arrays that stay where they are; the states are those of streams
    that have heard something.
    """
    bench = Bench(encoder, batch)
    bench.pcm[:] = np.random.default_rng(0).standard_normal(bench.pcm.shape, dtype=np.float32)
    bench.pcm *= np.float32(0.05)
    state = encoder.initial_state(batch)
    for _ in range(_ALONE_HOPS):
        _, state = encoder.step(bench.pcm, state)
    for name, values in state.items():
        bench.before[name][:] = values
    bench.step(batch)
    steps, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < _ALONE_S:
        bench.step(batch)
        steps += 1
    return EncoderCost(batch, spent / (steps * batch))


def measure_streams(
    engine: Engine,
    voiceprint: Voiceprint,
    data: bytes,
    sessions: int,
    advance: Callable[[float], None] | None = None,
) -> StreamsCost:
    """Run ``sessions`` over all of ``data`` (s16le, 16 kHz, mono), each from another place in it,
    the garbage collector set as a server sets it.

    ``advance`` is called with the seconds of each session's audio that were done since the last
    call.
    """
    crowd = _Crowd(engine, voiceprint, data, sessions)
    batcher = Batcher(engine.encoder, MAX_BATCH)
    feed_s = step_s = 0.0
    with spared_collector():
        for _ in range(crowd.rounds):
            begun = time.process_time()
            crowd.feed_round()
            fed = time.process_time()
            crowd.count(stepped.events for stepped in batcher.step(crowd.due()))
            stepped_at = time.process_time()
            feed_s += fed - begun
            step_s += stepped_at - fed
            if advance:
                advance(PACKET_S)
    begun = time.process_time()
    crowd.finish()
    ending_s = time.process_time() - begun
    audio_s = sessions * len(data) / (2 * SAMPLE_RATE)
    spent_s = feed_s + step_s + ending_s
    batch = crowd.hops / crowd.steps if crowd.steps else 0.0
    return StreamsCost(
        sessions=sessions,
        streams_per_core=audio_s / spent_s,
        speech_share=crowd.net_speech_s / audio_s,
        batch=batch,
        updates_per_hop=crowd.updates / crowd.hops if crowd.hops else 0.0,
        profile=_profile(
            engine, voiceprint, data, feed_s / audio_s, (step_s + ending_s) / audio_s, crowd, batch
        ),
    )


def measure_loaded_hops(
    engine: Engine, voiceprint: Voiceprint, data: bytes, sessions: int, load: float
) -> LoadedHops:
    """Latencies of ``sessions`` whose packets come every 20 ms, evenly spread over these.

    Time is simulated, so that nothing has to sleep: it stands at the moment when a packet comes
    while there is nothing to do, and goes on by the CPU time that work takes, as it would on a core
    that nobody else uses.
    """
    crowd = _Crowd(engine, voiceprint, data, sessions)
    batcher = Batcher(engine.encoder, MAX_BATCH)
    comes_s = np.arange(sessions) * (PACKET_S / sessions)
    sent = crowd.rounds * sessions
    waits_s: list[float] = []
    due_since: dict[VerificationSession, float] = {}
    now, taken = 0.0, 0
    while taken < sent:
        now = max(now, taken // sessions * PACKET_S + comes_s[taken % sessions])
        begun = time.process_time()
        while taken < sent:
            turn, who = divmod(taken, sessions)
            came = turn * PACKET_S + comes_s[who]
            if came > now:
                break
            crowd.feed(who, turn)
            due_since.setdefault(crowd.sessions[who], came)
            taken += 1
        while stepped := batcher.step(list(due_since)):
            done = time.process_time()
            now, begun = now + done - begun, done
            waits_s += [now - due_since[each.session] for each in stepped]
        now += time.process_time() - begun
        due_since.clear()
    return LoadedHops(sessions, load, percentiles_ms(waits_s))


def percentiles_ms(seconds: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """``p50``, ``p95`` and ``p99`` of ``seconds``, in milliseconds; of none, zeros."""
    found = np.percentile(seconds, [50, 95, 99]) * 1000 if len(seconds) else np.zeros(3)
    return dict(zip(("p50", "p95", "p99"), map(float, found), strict=True))


def packets(data: bytes) -> Iterator[bytes]:
    """``data`` 20 ms at a time, as telephony sends it."""
    for begin in range(0, len(data), _PACKET_BYTES):
        yield data[begin : begin + _PACKET_BYTES]


class _Crowd:
    """Sessions, the packets that they hear, and what they have said.

    All hear the same packets, each from another one on and round. So these stay in the cache, as
    does what has just come over a network; hundreds of recordings would be read from memory, which
    no call does.
    """

    def __init__(self, engine: Engine, voiceprint: Voiceprint, data: bytes, sessions: int) -> None:
        self.sessions = [engine.verify(voiceprint) for _ in range(sessions)]
        once = list(packets(data))
        self._count = len(once)
        self._packets = once * 2  # on and round
        self._starts = [number * len(once) // sessions for number in range(sessions)]
        # Those that begin together, each with the packet that it begins with.
        together = list(zip(self.sessions, self._starts, strict=True))
        self._groups = [together[first::_STAGGER_PACKETS] for first in range(_STAGGER_PACKETS)]
        self.rounds = len(once) + min(sessions, _STAGGER_PACKETS) - 1
        self.hops = self.steps = self.updates = 0
        self.net_speech_s = 0.0
        self._turn = 0
        self._due: list[VerificationSession] = []

    def feed(self, who: int, turn: int) -> None:
        """Give session ``who`` what it gets at ``turn``, if anything."""
        packet = turn - who % _STAGGER_PACKETS
        if 0 <= packet < self._count:
            self.sessions[who].feed(self._packets[self._starts[who] + packet])

    def feed_round(self) -> None:
        """One packet for everybody whose turn it is."""
        due, heard = self._due, self._packets
        for first, group in enumerate(self._groups):
            packet = self._turn - first
            if not 0 <= packet < self._count:
                continue
            for session, start in group:
                session.feed(heard[start + packet])
                if session.is_due:
                    due.append(session)
        self._turn += 1

    def due(self) -> list[VerificationSession]:
        """Who was found to have a hop due when it was fed, since the last call."""
        due, self._due = self._due, []
        return due

    def count(self, answers: Any) -> None:
        """Count the events of one round of hops."""
        hops = updates = 0
        for events in answers:
            hops += 1
            for event in events:
                updates += type(event) is ScoreUpdated
        self.updates += updates
        self.hops += hops
        self.steps += -(-hops // MAX_BATCH)

    def finish(self) -> None:
        """End all sessions."""
        for session in self.sessions:
            before = self.hops
            events = session.finish()
            self.updates += sum(type(event) is ScoreUpdated for event in events)
            self.hops += sum(type(event) is ScoreUpdated for event in events)
            self.steps += self.hops - before
            self.net_speech_s += sum(
                event.net_speech_s for event in events if isinstance(event, SessionEnded)
            )


def _profile(
    engine: Engine,
    voiceprint: Voiceprint,
    data: bytes,
    feed_s: float,
    step_s: float,
    crowd: _Crowd,
    batch: float,
) -> dict[str, float]:
    """Microseconds for 80 ms of audio by part; ``feed_s`` and ``step_s`` are for a second."""
    hops_per_s = (
        crowd.net_speech_s
        / (len(crowd.sessions) * len(data) / (2 * SAMPLE_RATE))
        / _hop_s(engine.encoder)
    )
    parts = _front_parts(engine, data)
    encoder_s = encoder_alone(engine.encoder, max(1, round(batch))).hop_s * hops_per_s
    scoring_s = _scoring_hop_s(engine, voiceprint, data) * hops_per_s
    parts["hops and queue"] = max(0.0, feed_s - sum(parts.values()))
    parts["encoder"] = encoder_s
    parts["scoring and events"] = scoring_s
    parts["batching"] = max(0.0, step_s - encoder_s - scoring_s)
    return {name: spent * 0.08 * 1e6 for name, spent in parts.items()}


def _hop_s(encoder: Encoder) -> float:
    return encoder.hop_samples / encoder.sample_rate


def _front_parts(engine: Engine, data: bytes) -> dict[str, float]:
    """CPU seconds of decoding and gating for each second of audio, each alone.

    At 16 kHz nothing is resampled. Both are given what a stream takes at once during speech: the
    frames of the gate that fill a hop.
    """
    decoder, gate = Decoder(AudioFormat()), SpeechGate(engine.config.gate)
    size = 2 * FRAME_SAMPLES * -(-engine.encoder.hop_samples // FRAME_SAMPLES)
    pieces = [data[start : start + size] for start in range(0, len(data) - size + 1, size)]
    begun = time.process_time()
    decoded = [decoder.decode(piece) for piece in pieces]
    decoded_at = time.process_time()
    for pcm, piece in zip(decoded, pieces, strict=True):
        gate.push(pcm, piece)
    gated_at = time.process_time()
    seconds = max(1, len(pieces)) * size / (2 * SAMPLE_RATE)
    return {
        "decode": (decoded_at - begun) / seconds,
        "gate": (gated_at - decoded_at) / seconds,
    }


def _scoring_hop_s(engine: Engine, voiceprint: Voiceprint, data: bytes) -> float:
    """CPU seconds of handing out one hop and taking its answer, without the network."""
    dimension = engine.encoder.dimension
    embedding = np.full(dimension, 1 / np.sqrt(dimension), np.float32)
    spent, hops = 0.0, 0
    while hops < _SCORED_HOPS:
        session = engine.verify(voiceprint)
        for packet in packets(data):
            session.feed(packet)
        begun = time.process_time()
        before = hops
        while (hop := session.next_hop()) is not None:
            session.complete(hop, embedding, hop.state)
            hops += 1
        spent += time.process_time() - begun
        if hops == before:
            return 0.0
    return spent / hops
