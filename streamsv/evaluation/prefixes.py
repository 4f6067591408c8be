"""What rivals make of a set: the very samples that our network heard, on the same trials.

The samples are those that our score rests on: what our gate admits, without what the session
forgot as no speech, up to the first hop with so much net speech. A rival does not stream, so it
hears all of them anew at each point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamsv.engine import Engine
from streamsv.engine.stream import HopStream, QueuedHop
from streamsv.evaluation.rivals import Rival
from streamsv.evaluation.sets import Stream
from streamsv.evaluation.streaming import Progress, StreamedSet, played

Floats = NDArray[np.float32]
Pair = tuple[tuple[str, ...], str]
"""The streams enrolled and the stream tested, as in a trial."""


@dataclass(frozen=True, slots=True)
class RivalScores:
    """The cosines of one rival, at each point of net speech (None: at the end), by trial."""

    name: str
    version: str
    cosines: Mapping[float | None, Mapping[Pair, float]]


def admitted_hops(engine: Engine, stream: Stream, channel: str | None = None) -> Floats:
    """Everything of a recording that a session of ``engine`` gives to its network, hop by hop.

    float32, shape (hops, hop_samples), 16 kHz, in [-1, 1]. ``channel`` "telephone" sends it
    through 8 kHz mu-law first. Raises `UnsupportedAudio` for a file that cannot be read.
    """
    blocks = played([stream.path], channel)
    audio, _ = next(blocks)
    source = HopStream(audio, engine.config.gate, engine.encoder.hop_samples)
    for _, chunk in blocks:
        source.feed(chunk)
    source.finish()
    hops = [item.pcm for item in source.queue if isinstance(item, QueuedHop)]
    return np.array(hops, np.float32).reshape(-1, engine.encoder.hop_samples)


def rival_scores(
    engine: Engine,
    rivals: Sequence[Rival],
    streamed: StreamedSet,
    channel: str | None = None,
    progress: Progress | None = None,
) -> tuple[RivalScores, ...]:
    """Score every trial that ``streamed`` scores, at the same points, with each of ``rivals``.

    Enrolled as ours are: the sum of the unit embeddings of the streams, each weighing its net
    speech. ``channel`` is what the set was streamed with.

    Raises `NotEnoughSpeech` at a point that is less than a rival can hear.
    """
    streams = streamed.evaluation_set.streams
    groups = [names for names, made in streamed.enrollments.items() if made.voiceprint]
    enrolled = list(dict.fromkeys(name for names in groups for name in names))
    total, done = len(enrolled) + len(streamed.tests), 0

    def advance(name: str) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total, name)

    voices: list[dict[str, Floats]] = [{} for _ in rivals]
    for name in enrolled:
        pcm = admitted_hops(engine, streams[name], channel).reshape(-1)
        for rival, voice in zip(rivals, voices, strict=True):
            if len(pcm):
                voice[name] = len(pcm) * rival.embed(pcm)
        advance(name)
    voiceprints = [{names: _together(voice, names) for names in groups} for voice in voices]
    found: list[dict[float | None, dict[Pair, float]]] = [{} for _ in rivals]
    for name, test in streamed.tests.items():
        admitted = admitted_hops(engine, streams[name], channel)
        for point, scores in test.scores.items():
            heard = admitted[list(test.hops[point])].reshape(-1)
            for rival, of, cosines in zip(rivals, voiceprints, found, strict=True):
                embedding = rival.embed(heard)
                at_point = cosines.setdefault(point, {})
                at_point.update({(names, name): float(of[names] @ embedding) for names in scores})
        advance(name)
    return tuple(
        RivalScores(rival.name, rival.version, cosines)
        for rival, cosines in zip(rivals, found, strict=True)
    )


def _together(voice: Mapping[str, Floats], names: Sequence[str]) -> Floats:
    total = np.sum([voice[name] for name in names if name in voice], axis=0)
    return np.asarray(total / np.linalg.norm(total), np.float32)
