"""Rivals hear the very samples that ours hears, on the same trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamsv.engine import Engine
from streamsv.evaluation.prefixes import admitted_samples, rival_scores
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.streaming import StreamedSet, played, stream_set

Floats = NDArray[np.float32]


class Counting:
    """A rival that remembers what it heard; its embedding tells lengths apart."""

    name = "counting"
    version = "1"

    def __init__(self) -> None:
        self.heard: list[int] = []

    def embed(self, pcm: Floats) -> Floats:
        self.heard.append(len(pcm))
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
    found = admitted_samples(engine, stream, channel)
    np.testing.assert_array_equal(found, np.concatenate(hops))


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
    parts = [admitted_samples(engine, tiny_set.streams[name]) for name in ("a1", "a2")]
    total: Any = sum(len(pcm) * rival.embed(pcm) for pcm in parts)
    test = rival.embed(admitted_samples(engine, tiny_set.streams["ct"]))
    expected = float(total @ test / np.linalg.norm(total))
    assert found.cosines[None][("a1", "a2"), "ct"] == pytest.approx(expected, abs=1e-6)
