"""What is not the caller, and what it does to a verdict: ``python -m training.intrusions``.

    python -m training.intrusions DATA_DIR SET_DIR... -o intrusions.json

Real sessions of the bundled model at its default settings. People of the development sets are
enrolled as the sets say, and then calls are played to all of their voiceprints:

- sounds that are no speech: every clip of DATA_DIR/noise, tones, synthesized music, near-silence,
  a vowel of somebody else looped (of DATA_DIR, noise has taken part in fitting the head);
- hold music before speech and between speech, against the same call without;
- the agent's voice, so many decibels below the caller's: alone, before the caller, and in turn.

Wideband sets are played at 16 kHz, telephone sets through 8 kHz mu-law, and every sound of the
first kind both ways.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import soxr
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFormat
from streamsv.audio.formats import Encoding, encode_mulaw
from streamsv.encoder import Batcher
from streamsv.engine import Engine, VerificationSession
from streamsv.evaluation.sets import EvaluationSet, Trial, load_set
from streamsv.events import Verdict
from streamsv.voiceprints import Voiceprint
from training import sounds
from training.guard_clips import noises, read

Floats = NDArray[np.float32]
Verdicts = dict[str, Verdict]
K = TypeVar("K")

WIDEBAND = AudioFormat(Encoding.F32LE, SAMPLE_RATE)
TELEPHONE = AudioFormat(Encoding.MULAW, 8_000)
LEAKS_DB = (-15, -20, -25, -30)

_ALONE = "the call alone"
_AT_ONCE = 24
_PLAYED_S = 10
_HELD_S = 20.0
_TURN_S = 3.0
_GREETING_S = 6.0
_CALL_S = 18.0
_LEVEL_DBFS = -26.0
_SYNTHESIZED = (
    ("keys", ("keypad",)),
    ("dial, ringing, busy and hold tones", ("line_tone", "sweep")),
    ("noise, hum, crackle", ("noise", "hum", "crackle")),
    ("music", ("music",)),
    ("synthesized vowels and singing", ("vowel", "singing")),
)


@dataclass(frozen=True, slots=True, eq=False)
class Enrolled:
    """Who of a set is enrolled: the voiceprints by the trials' enrollment, and the format."""

    evaluation_set: EvaluationSet
    audio: AudioFormat
    voiceprints: Mapping[tuple[str, ...], Voiceprint]


@dataclass(frozen=True, slots=True, eq=False)
class Played(Generic[K]):
    """One call to play: float32 (samples,), 16 kHz, over ``audio``, to all ``voiceprints``."""

    key: K
    voiceprints: Sequence[Voiceprint]
    pcm: Floats
    audio: AudioFormat


@dataclass(frozen=True, slots=True)
class Scene:
    """What happens (``name``) in the ``number``-th call of a caller or a stranger of a set."""

    name: str
    who: str
    of_set: str
    number: int


def verdicts(
    engine: Engine, voiceprints: Sequence[Voiceprint], pcm: Floats, audio: AudioFormat
) -> Verdicts:
    """The verdict on each voiceprint after a call: float32 (samples,), 16 kHz, over ``audio``."""
    ((_, found),) = played(engine, [Played(None, voiceprints, pcm, audio)])
    return found


def played(engine: Engine, calls: Iterable[Played[K]]) -> Iterator[tuple[K, Verdicts]]:
    """The verdicts of many calls, each with its key, some at a time and in no certain order."""
    batcher, waiting = Batcher(engine.encoder, _AT_ONCE), iter(calls)
    running: dict[VerificationSession, K] = {}
    while True:
        for call in itertools.islice(waiting, _AT_ONCE - len(running)):
            session = engine.verify(call.voiceprints, call.audio)
            session.feed(_encoded(call.pcm, call.audio))
            session.close_input()
            running[session] = call.key
        if not running:
            return
        for stepped in batcher.step(running):
            if stepped.error is not None:
                raise stepped.error
        for session in [session for session in running if session.is_ended]:
            found = {str(speaker): verdict for speaker, verdict in session.verdicts.items()}
            yield running.pop(session), found


def enrolled(engine: Engine, evaluation_set: EvaluationSet, at_most: int) -> Enrolled:
    """Voiceprints of so many people of a set, one each, of 20 s of each recording at most."""
    streams = evaluation_set.streams
    channel = next(iter(streams.values())).channel
    audio = TELEPHONE if channel == "telephone" else WIDEBAND
    found: dict[tuple[str, ...], Voiceprint] = {}
    people: set[str] = set()
    for trial in evaluation_set.trials:
        speaker = streams[trial.enroll[0]].speaker
        if trial.enroll in found or speaker in people or len(found) == at_most:
            continue
        session = engine.enroll(f"{evaluation_set.name} {speaker}", audio, force=True)
        for number, name in enumerate(trial.enroll):
            if number:
                session.next_recording(audio)
            session.push(_encoded(read(streams[name].path), audio))
        session.finish()
        found[trial.enroll] = session.voiceprint(created_at="2000-01-01T00:00:00Z")
        people.add(speaker)
    return Enrolled(evaluation_set, audio, found)


def no_speech(
    engine: Engine, voiceprints: Sequence[Voiceprint], named: Iterator[tuple[str, Floats]]
) -> dict[str, dict[str, float]]:
    """By kind of sound: clips, the share of them (%) in which no voiceprint was decided, and
    the decisions among all pairs of clip and voiceprint, accepted and rejected.
    """
    clips: dict[str, int] = defaultdict(int)
    undecided: dict[str, int] = defaultdict(int)
    counts: dict[str, dict[Verdict, int]] = defaultdict(lambda: dict.fromkeys(Verdict, 0))
    calls = (
        Played(kind, voiceprints, pcm, audio)
        for kind, pcm in named
        for audio in (WIDEBAND, TELEPHONE)
    )
    for kind, found in played(engine, calls):
        clips[kind] += 1
        undecided[kind] += all(each is Verdict.UNDECIDED for each in found.values())
        for each in found.values():
            counts[kind][each] += 1
    return {
        kind: {
            "clips": clips[kind],
            "undecided_percent": round(100 * undecided[kind] / clips[kind], 1),
            "pairs": sum(of_kind.values()),
            "accepted": of_kind[Verdict.ACCEPT],
            "rejected": of_kind[Verdict.REJECT],
        }
        for kind, of_kind in counts.items()
    }


def sounds_of(
    data: Path, sets: Sequence[EvaluationSet], each: int, seed: int
) -> Iterator[tuple[str, Floats]]:
    """Sounds that are no speech, by kind, each of ten seconds."""
    generator = np.random.default_rng(seed)
    for _, path in noises(data):
        pcm = read(path)
        yield "noise clips", np.resize(pcm, max(len(pcm), _PLAYED_S * SAMPLE_RATE))
    for kind, makers in _SYNTHESIZED:
        for number in range(each):
            yield kind, sounds.MAKERS[makers[number % len(makers)]](_PLAYED_S, generator)
    for dbfs in np.linspace(-90, -55, each):
        hiss = generator.standard_normal(_PLAYED_S * SAMPLE_RATE) * 10 ** (dbfs / 20)
        yield "near-silence", hiss.astype(np.float32)
    streams = [stream for one in sets for stream in one.streams.values()]
    for index in generator.choice(len(streams), min(2 * each, len(streams)), replace=False):
        voice = read(streams[int(index)].path)
        yield "a looped vowel", sounds.looped(_PLAYED_S, voice, generator)


def calls(people: Enrolled, is_target: bool, at_most: int) -> list[Trial]:
    """Trials of those who are enrolled, spread over the set."""
    trials = [
        trial
        for trial in people.evaluation_set.trials
        if trial.is_target == is_target and trial.enroll in people.voiceprints
    ]
    return trials[:: max(len(trials) // at_most, 1)][:at_most]


def intruded(
    engine: Engine, everybody: Sequence[Enrolled], at_most: int, seed: int
) -> dict[str, dict[str, list[int]]]:
    """By what happens in a call: verdicts on true callers and on strangers, as counts of accept,
    reject, undecided, and of those that differ from the call in which nothing happens.
    """
    heard: dict[Scene, Verdict] = {}
    for scene, of_call in played(engine, _scenes(everybody, at_most, seed)):
        (heard[scene],) = of_call.values()
    found: dict[str, dict[str, list[int]]] = {}
    for scene, verdict in heard.items():
        counts = found.setdefault(scene.name, {}).setdefault(scene.who, [0, 0, 0, 0])
        counts[list(Verdict).index(verdict)] += 1
        counts[3] += verdict is not heard[dataclasses.replace(scene, name=_ALONE)]
    return found


def _scenes(everybody: Sequence[Enrolled], at_most: int, seed: int) -> Iterator[Played[Scene]]:
    for people in everybody:
        for who, is_target in (("caller", True), ("stranger", False)):
            for number, trial in enumerate(calls(people, is_target, at_most)):
                generator = np.random.default_rng((seed, number))
                voiceprint = people.voiceprints[trial.enroll]
                for name, pcm in _happenings(people, trial, generator):
                    scene = Scene(name, who, people.evaluation_set.name, number)
                    yield Played(scene, [voiceprint], pcm, people.audio)


def _happenings(
    people: Enrolled, trial: Trial, generator: np.random.Generator
) -> Iterator[tuple[str, Floats]]:
    """One call, as it is and disturbed. The agent is another person of the set."""
    streams = people.evaluation_set.streams
    voice = _at_level(read(streams[trial.test].path)[: round(_CALL_S * SAMPLE_RATE)], 0.0)
    yield _ALONE, voice
    music = _at_level(sounds.music(_HELD_S, generator), 0.0)
    cut = min(round(_TURN_S * SAMPLE_RATE), len(voice) // 2)
    yield "20 s of music before", np.concatenate([music, voice])
    yield (
        "10 s of music after 3 s",
        np.concatenate([voice[:cut], music[: len(music) // 2], voice[cut:]]),
    )
    known = {streams[trial.test].speaker, streams[trial.enroll[0]].speaker}
    others = [stream for stream in streams.values() if stream.speaker not in known]
    agent = read(others[int(generator.integers(len(others)))].path)
    agent = np.resize(agent, max(len(agent), len(voice)))
    for gain_db in LEAKS_DB:
        leak = _at_level(agent, gain_db)
        yield f"the agent in turn, {gain_db} dB", _in_turn(voice, leak, generator)
    for gain_db in LEAKS_DB:
        leak = _at_level(agent, gain_db)[: round(_GREETING_S * SAMPLE_RATE)]
        first = np.concatenate([leak, voice])
        yield f"the agent for 6 s before, {gain_db} dB", _hissed(first, generator)
    for gain_db in LEAKS_DB:
        yield f"the agent alone, {gain_db} dB", _hissed(_at_level(agent, gain_db), generator)


def _in_turn(voice: Floats, agent: Floats, generator: np.random.Generator) -> Floats:
    turn = round(_TURN_S * SAMPLE_RATE)
    parts = []
    for start in range(0, len(voice), turn):
        parts += [voice[start : start + turn], agent[start : start + turn]]
    return _hissed(np.concatenate(parts), generator)


def _hissed(pcm: Floats, generator: np.random.Generator) -> Floats:
    """On a line that hisses 50 dB below the caller."""
    level = 10 ** ((_LEVEL_DBFS - 50) / 20)
    return np.asarray(pcm + level * generator.standard_normal(len(pcm)), np.float32)


def _at_level(pcm: Floats, gain_db: float) -> Floats:
    """``pcm`` at the caller's level plus ``gain_db``, by the loudest tenth of its 30 ms frames."""
    frames = pcm[: len(pcm) // 480 * 480].reshape(-1, 480)
    loud = float(np.percentile(np.mean(frames**2, axis=1), 90)) if len(frames) else 1.0
    gain = 10 ** ((_LEVEL_DBFS + 6 + gain_db) / 20) / np.sqrt(max(loud, 1e-12))
    return np.asarray(np.clip(pcm * gain, -1, 1), np.float32)


def _encoded(pcm: Floats, audio: AudioFormat) -> bytes:
    if audio is TELEPHONE:
        return encode_mulaw(soxr.resample(np.clip(pcm, -1, 1), SAMPLE_RATE, TELEPHONE.sample_rate))
    return np.clip(pcm, -1, 1).astype("<f4").tobytes()


def main(arguments: Sequence[str] | None = None) -> None:
    """Enroll, play, and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m training.intrusions", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--people", type=int, default=4, help="voiceprints of each set")
    parser.add_argument("--each", type=int, default=40, help="sounds of each kind")
    parser.add_argument("--calls", type=int, default=12, help="calls of each set, of each sort")
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args(arguments)
    engine = Engine.load()
    sets = [load_set(folder) for folder in chosen.sets]
    everybody = [enrolled(engine, one, chosen.people) for one in sets]
    voiceprints = [each for people in everybody for each in people.voiceprints.values()]
    of_sounds = no_speech(
        engine, voiceprints, sounds_of(chosen.data, sets, chosen.each, chosen.seed)
    )
    of_calls = intruded(engine, everybody, chosen.calls, chosen.seed)
    lines = [f"model {engine.fingerprint}, {len(voiceprints)} voiceprints"]
    for kind, each in of_sounds.items():
        lines.append(f"{kind:36s}" + "".join(f" {name} {value:g}" for name, value in each.items()))
    for name, by_whom in of_calls.items():
        for who, (accept, reject, undecided, changed) in by_whom.items():
            counts = f"{accept:4d} accept {reject:4d} reject {undecided:4d} undecided"
            lines.append(f"{name:28s} {who:8s} {counts} {changed:4d} changed")
    print("\n".join(lines), flush=True)  # noqa: T201
    if chosen.output:
        found = {"fingerprint": engine.fingerprint, "sounds": of_sounds, "calls": of_calls}
        chosen.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
