"""Rivals hear the very samples that ours hears, on the same trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from streamsv.engine import Engine
from streamsv.evaluation.prefixes import admitted_hops, rival_scores
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.streaming import StreamedSet, played, stream_set

Floats = NDArray[np.float32]


class Counting:
    """A rival that remembers what it heard; its embedding tells lengths apart."""

    name = "counting"
    version = "1"

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.samples: list[Floats] = []

    def embed(self, pcm: Floats) -> Floats:
        self.heard.append(len(pcm))
        self.samples.append(pcm)
        angle = len(pcm) / 100_000
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


@pytest.fixture(scope="module")
def streamed(engine: Engine, tiny_set: EvaluationSet) -> StreamedSet:
    return stream_set(engine, tiny_set, (1.0, 3.0))


@pytest.mark.parametrize("channel", [None, "telephone"])
def test_the_samples_are_those_of_the_hops_of_a_session(
    engine: Engine, tiny_set: EvaluationSet, streamed: StreamedSet, channel: str | None
) -> None:
    stream = tiny_set.streams["at"]
    voiceprint = next(iter(streamed.enrollments.values())).voiceprint
    assert voiceprint is not None
    blocks = played([stream.path], channel)
    audio, _ = next(blocks)
    session = engine.verify(voiceprint, audio)
    hops: list[Floats] = []

    def run() -> None:
        while (hop := session.next_hop()) is not None:
            hops.append(hop.pcm[0])
            embedding, state = engine.encoder.step(hop.pcm, hop.state)
            session.complete(hop, embedding[0], state)

    for _, chunk in blocks:
        session.feed(chunk)
        run()
    session.close_input()
    run()
    found = admitted_hops(engine, stream, channel)
    np.testing.assert_array_equal(found, np.array(hops))


def test_a_rival_is_scored_on_our_trials_and_hears_our_prefixes(
    engine: Engine, tiny_set: EvaluationSet, streamed: StreamedSet
) -> None:
    rival = Counting()
    (found,) = rival_scores(engine, [rival], streamed)
    for point in (1.0, 3.0, None):
        ours = {(s.trial.enroll, s.trial.test) for s in streamed.at(point)}
        assert set(found.cosines[point]) == ours
    hop = engine.encoder.hop_samples
    assert all(length % hop == 0 for length in rival.heard)
    heard_s = streamed.tests["at"].heard_s
    assert 1.0 <= heard_s[1.0] < 1.0 + hop / 16_000
    for point in (1.0, 3.0):
        assert round(heard_s[point] * 16_000) in rival.heard


def test_enrollment_streams_count_by_their_speech(
    engine: Engine, tiny_set: EvaluationSet, streamed: StreamedSet
) -> None:
    (found,) = rival_scores(engine, [Counting()], streamed)
    rival = Counting()
    parts = [admitted_hops(engine, tiny_set.streams[name]).ravel() for name in ("a1", "a2")]
    total: Any = sum(len(pcm) * rival.embed(pcm) for pcm in parts)
    test = rival.embed(admitted_hops(engine, tiny_set.streams["ct"]).ravel())
    expected = float(total @ test / np.linalg.norm(total))
    assert found.cosines[None][("a1", "a2"), "ct"] == pytest.approx(expected, abs=1e-6)


def chords(seconds: float) -> Floats:
    """Slow chords, which pass the gate and are no speech."""
    roots = np.repeat([220.0, 174.6, 261.6, 196.0], round(seconds * 4_000))
    phases = [np.cumsum(roots * ratio) / 16_000 for ratio in (1.0, 1.26, 1.5)]
    waves = np.sum([2 * np.abs(2 * (phase % 1) - 1) - 1 for phase in phases], axis=0)
    return (0.08 * waves).astype(np.float32)


def test_a_rival_does_not_hear_the_music_that_our_session_forgot(
    engine: Engine, make_set: Any, clips: Any, tmp_path: Path
) -> None:
    cuts = [("a1", "voice_a_enroll", 0.0, 6.0), ("at", "voice_a_call", 0.0, 1.0)]
    on_hold = make_set(tmp_path / "on_hold", cuts, [("a1", "at")])
    music, speech = chords(12), clips.pcm("voice_a_call")[: 10 * 16_000]
    soundfile.write(on_hold.streams["at"].path, np.concatenate([music, speech]), 16_000)
    streamed = stream_set(engine, on_hold, (5.0,))
    test = streamed.tests["at"]
    admitted = admitted_hops(engine, on_hold.streams["at"])
    assert len(admitted) - len(test.hops[None]) > 100
    rival = Counting()
    rival_scores(engine, [rival], streamed)
    found = dict(zip(test.scores, rival.samples[-2:], strict=True))
    for point, heard in found.items():
        assert len(heard) == round(test.heard_s[point] * 16_000)
        np.testing.assert_array_equal(heard, admitted[list(test.hops[point])].ravel())
    np.testing.assert_array_equal(found[None][-1280:], admitted[-1])
    assert min(test.hops[None]) > 100
