"""A set through real sessions: what is heard, what is left out, and that nothing is made up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from streamsv.audio import AudioFormat, Resampler, encode_mulaw
from streamsv.engine import Engine
from streamsv.errors import ConfigError, UnsupportedAudio
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.streaming import StreamedSet, stream_set
from streamsv.events import Event, Refusal, Score, ScoreUpdated

SHORT_TRIALS = [("c1", "at"), ("c1", "ct")]


@pytest.fixture(scope="module")
def streamed(engine: Engine, tiny_set: EvaluationSet) -> StreamedSet:
    return stream_set(engine, tiny_set, (3.0, 1.0))


def heard_by_hand(engine: Engine, enroll: list[bytes], test: bytes, audio: AudioFormat) -> Any:
    enrollment = engine.enroll("somebody", audio, force=True)
    enrollment.push(enroll[0])
    for recording in enroll[1:]:
        enrollment.push_recording(recording)
    enrollment.finish()
    session = engine.verify(enrollment.voiceprint("2025-01-01T00:00:00Z"), audio)
    events: list[Event] = [*session.push(test), *session.finish()]
    return [event for event in events if isinstance(event, ScoreUpdated)]


def test_a_trial_is_scored_by_the_first_update_with_that_much_speech(
    engine: Engine, tiny_set: EvaluationSet, streamed: StreamedSet
) -> None:
    def recording(name: str) -> bytes:
        pcm, _ = soundfile.read(tiny_set.streams[name].path, dtype="float32")
        return bytes(pcm.tobytes())

    updates = heard_by_hand(
        engine, [recording("a1"), recording("a2")], recording("ct"), AudioFormat("f32le", 16_000)
    )
    for point in (1.0, 3.0):
        expected = next(update for update in updates if update.net_speech_s >= point)
        scored = streamed.at(point)
        found = next(s for s in scored if (s.trial.enroll[0], s.trial.test) == ("a1", "ct"))
        assert found.score.cosine == pytest.approx(expected.scores[0].cosine, abs=1e-6)
        assert found.score.llr == pytest.approx(expected.scores[0].llr, abs=1e-5)
    last = streamed.tests["ct"].scores[None]["a1", "a2"]
    assert last.cosine == pytest.approx(updates[-1].scores[0].cosine, abs=1e-6)


def test_trials_come_in_the_order_of_the_set_with_their_speakers(
    tiny_set: EvaluationSet, streamed: StreamedSet
) -> None:
    scored = streamed.at(None)
    assert tuple(s.trial for s in scored) == tiny_set.trials
    assert [s.trial.is_target for s in scored] == [
        s.enroll_speaker == s.test_speaker for s in scored
    ]
    assert {s.channel for s in scored} == {"wideband"}


def test_a_test_with_less_speech_than_asked_is_left_out_there_and_counted(
    streamed: StreamedSet,
) -> None:
    assert streamed.left_out(1.0) == 0
    assert streamed.left_out(3.0) == 1
    assert "bt" not in {s.trial.test for s in streamed.at(3.0)}
    assert len(streamed.at(3.0)) == 6
    assert len(streamed.at(None)) == 9


def test_a_test_without_speech_has_no_score_at_all(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    silent = make_set(tmp_path / "set", trials=SHORT_TRIALS, silence=["at"])
    streamed = stream_set(engine, silent, (1.0,))
    assert (streamed.left_out(1.0), streamed.left_out(None)) == (1, 1)
    assert [s.trial.test for s in streamed.at(None)] == ["ct"]


def test_an_enrollment_that_would_be_refused_is_made_by_force_and_says_why(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    streamed = stream_set(engine, make_set(tmp_path / "set", trials=[("a1", "ct")]), ())
    enrollment = streamed.enrollments[("a1",)]
    assert enrollment.refusal is Refusal.NOT_ENOUGH_SPEECH
    assert enrollment.voiceprint is not None
    assert len(streamed.at(None)) == 1


def test_an_enrollment_below_one_second_leaves_its_trials_out(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    trials = [("c1", "ct"), ("b1", "ct"), ("b1", "at")]
    streamed = stream_set(engine, make_set(tmp_path / "set", trials=trials, silence=["b1"]), ())
    enrollment = streamed.enrollments[("b1",)]
    assert (enrollment.voiceprint, enrollment.net_speech_s) == (None, 0.0)
    assert enrollment.refusal is Refusal.NOT_ENOUGH_SPEECH
    assert [s.trial.enroll for s in streamed.at(None)] == [("c1",)]
    assert list(streamed.tests) == ["ct"]
    assert streamed.left_out(None) == 0


def test_joined_streams_are_several_recordings_of_one_voiceprint(streamed: StreamedSet) -> None:
    joined = streamed.enrollments["a1", "a2"].voiceprint
    assert joined is not None
    assert joined.recordings == 2


def test_one_person_enrolled_twice_can_be_claimed_by_one_test(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    twice = make_set(tmp_path / "set", trials=[("a1", "ct"), ("a2", "ct"), ("a1,a2", "ct")])
    streamed = stream_set(engine, twice, ())
    assert len({s.score.cosine for s in streamed.at(None)}) == 3


def test_the_telephone_is_8_khz_mu_law_for_enrollments_and_tests(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "set", trials=SHORT_TRIALS)

    def called(name: str) -> bytes:
        pcm, _ = soundfile.read(tiny.streams[name].path, dtype="float32")
        resampler = Resampler(16_000, 8_000)
        return encode_mulaw(np.concatenate([resampler.push(pcm), resampler.finish()]))

    streamed = stream_set(engine, tiny, (), "telephone")
    voiceprint = streamed.enrollments[("c1",)].voiceprint
    assert voiceprint is not None
    assert voiceprint.channel == "telephone"
    updates = heard_by_hand(engine, [called("c1")], called("at"), AudioFormat("mulaw", 8_000))
    found = streamed.at(None)[0]
    assert found.channel == "telephone"
    assert found.score.cosine == pytest.approx(updates[-1].scores[0].cosine, abs=1e-6)


def test_an_8_khz_recording_is_telephone_as_it_is(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    narrow = make_set(tmp_path / "set", trials=SHORT_TRIALS, rate=8_000)
    assert {s.channel for s in stream_set(engine, narrow, ()).at(None)} == {"telephone"}


def test_streaming_twice_gives_the_same_scores(
    engine: Engine, tiny_set: EvaluationSet, streamed: StreamedSet
) -> None:
    again = stream_set(engine, tiny_set, (1.0, 3.0))
    for point in (1.0, 3.0, None):
        assert again.at(point) == streamed.at(point)


def test_progress_counts_every_recording_once(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    seen: list[tuple[int, int, str]] = []
    tiny = make_set(tmp_path / "set", trials=[("a1,a2", "ct"), ("b1", "ct"), ("b1", "bt")])
    stream_set(engine, tiny, (), progress=lambda *call: seen.append(call))
    assert seen == [(2, 5, "a2"), (3, 5, "b1"), (4, 5, "ct"), (5, 5, "bt")]


def test_a_model_without_score_normalization_says_so(
    engine: Engine, tiny_set: EvaluationSet, streamed: StreamedSet
) -> None:
    score: Score = streamed.at(None)[0].score
    if score.normalized is not None:
        pytest.skip("the bundled model normalizes its scores")
    with pytest.raises(ConfigError, match="no score normalization"):
        stream_set(engine, tiny_set, (), needs_normalized=True)


@pytest.mark.parametrize("point", [0.0, -1.0, math.inf, math.nan])
def test_a_point_that_is_no_amount_of_speech_is_refused(
    engine: Engine, tiny_set: EvaluationSet, point: float
) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        stream_set(engine, tiny_set, (1.0, point))


def test_another_channel_is_refused(engine: Engine, tiny_set: EvaluationSet) -> None:
    with pytest.raises(ConfigError, match="'telephone'"):
        stream_set(engine, tiny_set, (), "wideband")


def test_a_recording_that_cannot_be_read_is_named(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    tiny = make_set(tmp_path / "set", trials=SHORT_TRIALS)
    tiny.streams["ct"].path.write_bytes(b"not audio")
    with pytest.raises(UnsupportedAudio, match=r"ct\.wav"):
        stream_set(engine, tiny, ())
