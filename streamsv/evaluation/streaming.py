"""A set through real sessions: everybody is enrolled, then each test is heard once, as a call is.

The network runs over a test stream once, in one session against every voiceprint that its trials
claim; the scores are those that the session gave at each point of net speech, not recomputed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from streamsv.audio import AudioFile, AudioFormat, Encoding, Resampler, encode_mulaw
from streamsv.engine import Engine, EngineConfig
from streamsv.errors import ConfigError, UnsupportedAudio
from streamsv.evaluation.sets import EvaluationSet, Stream, Trial
from streamsv.events import DecisionMade, Event, Refusal, Score, ScoreUpdated
from streamsv.voiceprints import Voiceprint

Progress = Callable[[int, int, str], None]
"""Called after each recording with how many are done, how many there are, and its stream."""

MIN_ENROLLED_S = 1.0
"""Net speech below which not even a forced enrollment stands for a voice."""

_TELEPHONE = AudioFormat(Encoding.MULAW, 8_000)
_NEVER_STORED = "1970-01-01T00:00:00Z"
_BLOCK_S = 1.0


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What enrolling some streams together gave.

    Fields
    ------
    streams: names, as in the trials.
    net_speech_s: over all of them.
    refusal: why it would have been refused, had it not been forced.
    voiceprint: None below `MIN_ENROLLED_S` of net speech.
    """

    streams: tuple[str, ...]
    net_speech_s: float
    refusal: Refusal | None
    voiceprint: Voiceprint | None


@dataclass(frozen=True, slots=True)
class HeardTest:
    """One test stream, heard to its end.

    Fields
    ------
    channel: ``wideband`` or ``telephone``: which calibration the session used.
    scores: at each point of net speech that was reached (None: at the end), the score against
        each enrollment, by its streams.
    heard_s: at the same points, the net speech that those scores rest on.
    hops: at the same points, the numbers of the hops that they rest on, in order: without those
        that were no speech and were forgotten.
    decisions: the first decision about each enrollment, as the session made it.
    """

    channel: str
    scores: Mapping[float | None, Mapping[tuple[str, ...], Score]]
    heard_s: Mapping[float | None, float]
    hops: Mapping[float | None, tuple[int, ...]]
    decisions: Mapping[tuple[str, ...], DecisionMade]


@dataclass(frozen=True, slots=True)
class ScoredTrial:
    """One trial at one point of net speech; ``channel`` is that of the test's session."""

    trial: Trial
    enroll_speaker: str
    test_speaker: str
    channel: str
    score: Score


@dataclass(frozen=True, slots=True)
class StreamedSet:
    """All sessions of a set; ``tests`` holds each test that could be compared with anybody."""

    evaluation_set: EvaluationSet
    enrollments: Mapping[tuple[str, ...], Enrollment]
    tests: Mapping[str, HeardTest]

    def at(self, net_speech_s: float | None) -> tuple[ScoredTrial, ...]:
        """The trials that could be scored at one of the points asked for, in the set's order.

        ``net_speech_s`` None is the end of each test.
        """
        streams = self.evaluation_set.streams
        found = []
        for trial in self.evaluation_set.trials:
            test = self.tests.get(trial.test)
            score = test and test.scores.get(net_speech_s, {}).get(trial.enroll)
            if test and score:
                enrolled, tested = streams[trial.enroll[0]].speaker, streams[trial.test].speaker
                found.append(ScoredTrial(trial, enrolled, tested, test.channel, score))
        return tuple(found)

    def left_out(self, net_speech_s: float | None) -> int:
        """How many test streams have too little net speech to be scored there."""
        return sum(net_speech_s not in test.scores for test in self.tests.values())


def stream_set(
    engine: Engine,
    evaluation_set: EvaluationSet,
    at_s: Sequence[float],
    channel: str | None = None,
    needs_normalized: bool = False,
    progress: Progress | None = None,
    enroll_as_recorded: bool = False,
) -> StreamedSet:
    """Enroll and hear everything that the trials name.

    Scores are kept from the first ``score_updated`` with at least each of ``at_s`` seconds of net
    speech, and from the last one. Enrollments are forced, whatever they would have been refused
    for; below `MIN_ENROLLED_S` of net speech there is no voiceprint, and its trials are left out.
    Nothing that passes the gate is taken for background, so that rivals hear the same samples.
    ``channel`` "telephone" sends every recording through 8 kHz mu-law first; with
    ``enroll_as_recorded`` only the tests.

    Raises `ConfigError` for points or a channel that do not exist, and, if ``needs_normalized``,
    when the model normalizes no scores; `UnsupportedAudio` for a recording that cannot be read.
    """
    points = checked_points(at_s)
    if channel not in (None, "telephone"):
        raise ConfigError(
            f"channel is {channel!r}; use 'telephone', or none for the recordings as they are.",
            channel,
        )
    config = heard_whole(engine.config)
    engine = Engine(engine.encoder, engine.calibration, config, engine.takeover)
    groups = list(dict.fromkeys(trial.enroll for trial in evaluation_set.trials))
    claims: dict[str, list[tuple[str, ...]]] = {}
    for trial in evaluation_set.trials:
        claims.setdefault(trial.test, []).append(trial.enroll)
    total = sum(map(len, groups)) + len(claims)
    done = 0

    def advance(names: Sequence[str]) -> None:
        nonlocal done
        done += len(names)
        if progress:
            progress(done, total, names[-1])

    enrollments = {}
    for number, group in enumerate(groups, start=1):
        streams = [evaluation_set.streams[name] for name in group]
        enroll_channel = None if enroll_as_recorded else channel
        enrollments[group] = _enroll(engine, f"enrollment {number}", streams, enroll_channel)
        advance(group)
    tests = {}
    for name, claimed in claims.items():
        heard = [e for e in map(enrollments.__getitem__, claimed) if e.voiceprint]
        if heard:
            stream = evaluation_set.streams[name]
            tests[name] = _hear(engine, stream, heard, points, channel, needs_normalized)
        advance([name])
    return StreamedSet(evaluation_set, enrollments, tests)


def heard_whole(config: EngineConfig) -> EngineConfig:
    """``config`` as sets are streamed: nothing that passes the gate is taken for background."""
    return replace(config, guard=replace(config.guard, below_loudest_db=None))


def checked_points(at_s: Sequence[float]) -> tuple[float, ...]:
    """Points of net speech in rising order, each once.

    Raises `ConfigError` for one that is not a number of seconds above 0.
    """
    for point in at_s:
        if not 0 < point < math.inf:
            raise ConfigError(
                f"Cannot score at {point} s of net speech; use seconds above 0.", point
            )
    return tuple(sorted({float(point) for point in at_s}))


def _enroll(
    engine: Engine, name: str, streams: Sequence[Stream], channel: str | None
) -> Enrollment:
    session = None
    for stream in streams:
        blocks = played([stream.path], channel)
        audio, _ = next(blocks)
        if session is None:
            session = engine.enroll(name, audio, force=True)
        else:
            session.next_recording(audio)
        for _, chunk in blocks:
            session.push(chunk)
    if session is None:
        raise ConfigError("An enrollment needs at least one stream.", name)
    session.finish()
    is_enough = session.net_speech_s >= MIN_ENROLLED_S
    return Enrollment(
        streams=tuple(stream.name for stream in streams),
        net_speech_s=session.net_speech_s,
        refusal=session.refusal.reason if session.refusal else None,
        voiceprint=session.voiceprint(_NEVER_STORED) if is_enough else None,
    )


def _hear(
    engine: Engine,
    stream: Stream,
    enrollments: Sequence[Enrollment],
    points: tuple[float, ...],
    channel: str | None,
    needs_normalized: bool,
) -> HeardTest:
    voiceprints = [e.voiceprint for e in enrollments if e.voiceprint]
    updates: dict[float | None, ScoreUpdated] = {}
    hops: dict[float | None, tuple[int, ...]] = {}
    kept: list[int] = []
    decisions: dict[str | None, DecisionMade] = {}

    def keep(events: list[Event]) -> None:
        for event in events:
            if isinstance(event, DecisionMade):
                decisions.setdefault(event.speaker, event)
            if not isinstance(event, ScoreUpdated):
                continue
            if needs_normalized and event.scores[0].normalized is None:
                raise ConfigError(
                    "This model has no score normalization, so there is no score 'normalized'; "
                    "use cosine or llr.",
                    "normalized",
                )
            reached = [p for p in points if p <= event.net_speech_s and p not in updates]
            for point in (*reached, None):
                updates[point], hops[point] = event, tuple(kept)

    blocks = played([stream.path], channel)
    audio, _ = next(blocks)
    session = engine.verify(voiceprints, audio)

    def run() -> None:
        while (hop := session.next_hop()) is not None:
            embedding, state = engine.encoder.step(hop.pcm, hop.state)
            events = session.complete(hop, embedding[0], state)
            # A session goes back to a hop before, and on from there: what was between is forgotten.
            kept.append(hop.number)
            del kept[session.hops :]
            keep(events)

    for _, chunk in blocks:
        keep(session.feed(chunk))
        run()
    keep(session.close_input())
    run()
    streams = [e.streams for e in enrollments]
    return HeardTest(
        audio.channel,
        {
            point: dict(zip(streams, update.scores, strict=True))
            for point, update in updates.items()
        },
        {point: update.net_speech_s for point, update in updates.items()},
        hops,
        {
            e.streams: decisions[e.voiceprint.speaker]
            for e in enrollments
            if e.voiceprint and e.voiceprint.speaker in decisions
        },
    )


def format_of(path: Path) -> AudioFormat:
    """In what format `played` gives a recording as it is, whatever a table says of it.

    Raises `UnsupportedAudio` for a file that cannot be read.
    """
    with AudioFile(path) as file:
        return file.format


def played(
    paths: Sequence[Path], channel: str | None
) -> Generator[tuple[AudioFormat, bytes], None, None]:
    """Recordings one after the other, as a session takes them: the format, and a block of bytes.

    ``channel`` "telephone" sends them through 8 kHz mu-law. There is at least one block, be it
    empty. Raises `UnsupportedAudio` when they are not of one format.
    """
    audio = None
    for path in paths:
        with AudioFile(path, _BLOCK_S) as file:
            this = file.format if channel is None else _TELEPHONE
            if audio not in (None, this):
                raise UnsupportedAudio(
                    f"{path} has another format than the recordings that it is joined to.",
                    str(path),
                )
            audio = this
            yield audio, b""
            if channel is None:
                for block in file:
                    yield audio, block.astype("<f4").tobytes()
            else:
                for data in _through_telephone(file):
                    yield audio, data


def _through_telephone(file: AudioFile) -> Iterator[bytes]:
    resampler = Resampler(file.sample_rate, _TELEPHONE.sample_rate)
    for block in file:
        yield encode_mulaw(resampler.push(block))
    yield encode_mulaw(resampler.finish())
