"""Many voiceprints in one session: each decided separately, or one decision among all.

The scores here are set by hand through the embeddings that are completed, so that what is tested
is what the session makes of them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.engine import Engine, EngineConfig, VerificationSession
from streamsv.engine.config import GuardConfig
from streamsv.errors import ConfigError, ModelMismatch, UnknownSpeaker, UnsupportedAudio
from streamsv.events import DecisionMade, Event, Reason, ScoreUpdated, SessionStarted, Verdict
from streamsv.scoring.calibration import Calibration, Line
from streamsv.scoring.policy import DecisionConfig
from streamsv.voiceprints import Voiceprint

DATED = "2025-01-31T09:30:00Z"
LLR_PER_COSINE = 10.0


@pytest.fixture
def scored_engine(engine: Engine) -> Callable[..., Engine]:
    """An engine whose LLR is ten times the cosine, with other values of its configuration.

    The tests answer its hops themselves, so no network hears whether there is speech: no guard.
    """

    def build(**values: Any) -> Engine:
        line = Line((LLR_PER_COSINE,), (0.0,))
        channels = {"wideband": line, "telephone": line}
        calibration = Calibration(engine.fingerprint, (1.0,), channels)
        fixed = {
            "decision": DecisionConfig(accept_llr=2.0, reject_llr=-2.5, min_net_speech_s=3.0),
            "guard": GuardConfig(is_on=False),
        }
        return Engine(engine.encoder, calibration, type(engine.config)(**fixed | values))

    return build


@pytest.fixture
def speech(voice: Callable[..., Any]) -> bytes:
    return encode_s16le(voice("a", 6))


def axis(engine: Engine, number: int) -> Any:
    return np.eye(1, engine.encoder.dimension, number, dtype=np.float32)[0]


def somebody(engine: Engine, name: str, number: int) -> Voiceprint:
    """A voiceprint along one axis of the embedding space."""
    return Voiceprint(
        name, axis(engine, number), engine.fingerprint, 10.0, 1, "wideband", DATED, DATED
    )


def crowd(engine: Engine, size: int) -> list[Voiceprint]:
    return [somebody(engine, f"speaker {number}", number) for number in range(size)]


def hear(session: VerificationSession, speech: bytes, llrs: dict[int, float]) -> list[Event]:
    """What is said when every hop gives voiceprint ``number`` the LLR ``llrs[number]``."""
    cosines = {number: llr / LLR_PER_COSINE for number, llr in llrs.items()}
    events = session.feed(speech) + session.close_input()
    while (hop := session.next_hop()) is not None:
        embedding = np.zeros(session._encoder.dimension, np.float32)
        embedding[list(cosines)] = list(cosines.values())
        embedding[-1] = math.sqrt(1.0 - sum(c * c for c in cosines.values()))
        events += session.complete(hop, embedding, hop.state)
    return events


def decisions(events: list[Event]) -> list[DecisionMade]:
    return [event for event in events if isinstance(event, DecisionMade)]


def test_each_claimed_voiceprint_is_decided_separately(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine()
    session = engine.verify(crowd(engine, 3))
    events = hear(session, speech, {0: 5.0, 1: -5.0, 2: 1.0})
    found = {
        decision.speaker: (decision.verdict, decision.reason) for decision in decisions(events)
    }
    assert found == {
        "speaker 0": (Verdict.ACCEPT, Reason.ABOVE_ACCEPT_THRESHOLD),
        "speaker 1": (Verdict.REJECT, Reason.BELOW_REJECT_THRESHOLD),
        "speaker 2": (Verdict.UNDECIDED, Reason.EVIDENCE_INCONCLUSIVE),
    }
    assert session.verdicts == {speaker: verdict for speaker, (verdict, _) in found.items()}


def test_a_decision_is_made_once_at_the_first_look_and_scores_go_on(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine()
    events = hear(engine.verify(crowd(engine, 1)), speech, {0: 5.0})
    (decision,) = decisions(events)
    least_s = engine.config.decision.min_net_speech_s
    assert least_s <= decision.net_speech_s < least_s + 0.08
    score = events[events.index(decision) - 1]
    assert isinstance(score, ScoreUpdated)
    assert (decision.at_s, decision.net_speech_s) == (score.at_s, score.net_speech_s)
    assert decision.score == score.scores[0]
    assert decision.promised_error_rate is None
    assert any(isinstance(event, ScoreUpdated) for event in events[events.index(decision) :])


def test_the_same_voiceprint_gets_the_same_score_alone_and_among_others(
    engine: Engine, voiceprints: Any, speech: bytes, heard: Callable[..., list[Event]]
) -> None:
    alone = heard(engine.verify(voiceprints["b"]), speech)
    among = heard(engine.verify([voiceprints[name] for name in "abc"]), speech)
    one = [e.scores[0].cosine for e in alone if isinstance(e, ScoreUpdated)]
    assert one == pytest.approx(
        [e.scores[1].cosine for e in among if isinstance(e, ScoreUpdated)], abs=1e-6
    )
    assert next(d for d in decisions(among) if d.speaker == "b").verdict == (
        decisions(alone)[0].verdict
    )


@pytest.mark.parametrize("others", [3, 40], ids=["few", "many"])
def test_few_and_many_are_scored_as_each_alone(
    engine: Engine, voiceprints: Any, speech: bytes, others: int
) -> None:
    def shown(events: list[Event], speaker: str) -> list[Any]:
        return [
            (score.cosine, score.llr)
            for event in events
            if isinstance(event, ScoreUpdated)
            for score in event.scores
            if score.speaker == speaker
        ]

    claims = [*crowd(engine, others), voiceprints["b"]]
    embedding = np.full(engine.encoder.dimension, 0.1, np.float32)

    def heard_with(session: Any) -> list[Event]:
        events = session.feed(speech)
        while (hop := session.next_hop()) is not None:
            events += session.complete(hop, embedding, hop.state)
        return list(events)

    among = heard_with(engine.verify(claims))
    for claim in (claims[0], claims[-1]):
        alone = shown(heard_with(engine.verify(claim)), claim.speaker)
        assert len(alone) > 20
        np.testing.assert_allclose(shown(among, claim.speaker), alone, atol=1e-5)


def test_somebody_is_identified_by_the_best_score(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine()
    session = engine.identify(crowd(engine, 3))
    (decision,) = decisions(hear(session, speech, {0: 4.5, 1: 6.0, 2: -3.0}))
    assert decision.speaker == "speaker 1"
    assert decision.verdict is Verdict.ACCEPT
    assert decision.score is not None
    assert decision.score.speaker == "speaker 1"
    assert session.verdicts == {"speaker 1": Verdict.ACCEPT}


def test_nobody_is_an_answer(scored_engine: Callable[..., Engine], speech: bytes) -> None:
    engine = scored_engine()
    session = engine.identify(crowd(engine, 3))
    (decision,) = decisions(hear(session, speech, {0: -3.5, 1: -5.0, 2: -4.0}))
    assert decision.speaker is None
    assert decision.verdict is Verdict.REJECT
    assert decision.score is not None
    assert decision.score.speaker == "speaker 0"
    assert session.verdicts == {None: Verdict.REJECT}


def test_identification_can_stay_undecided(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine()
    (decision,) = decisions(hear(engine.identify(crowd(engine, 3)), speech, {0: 2.0}))
    assert (decision.speaker, decision.verdict) == (None, Verdict.UNDECIDED)
    assert decision.reason is Reason.EVIDENCE_INCONCLUSIVE


@pytest.mark.parametrize("size", [1, 2, 20, 100])
def test_the_accept_threshold_rises_by_the_logarithm_of_the_crowd(
    scored_engine: Callable[..., Engine], speech: bytes, size: int
) -> None:
    engine = scored_engine()
    threshold = engine.config.decision.accept_llr + math.log(size)
    verdict = {}
    for margin in (-0.01, 0.01):
        events = hear(engine.identify(crowd(engine, size)), speech, {0: threshold + margin})
        verdict[margin] = decisions(events)[0].verdict
    assert verdict == {-0.01: Verdict.UNDECIDED, 0.01: Verdict.ACCEPT}


def test_claims_that_are_decided_separately_keep_their_threshold(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine()
    events = hear(engine.verify(crowd(engine, 20)), speech, {0: 3.01})
    assert decisions(events)[0].verdict is Verdict.ACCEPT


def test_identification_shows_the_best_candidates_best_first(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine(candidates_shown=2)
    events = hear(engine.identify(crowd(engine, 4)), speech, {0: 1.0, 1: 2.0, 2: -1.0, 3: 1.5})
    shown = [event.scores for event in events if isinstance(event, ScoreUpdated)]
    for scores in shown:
        assert [score.speaker for score in scores] == ["speaker 1", "speaker 3"]


def test_verification_shows_every_claim_in_the_order_of_the_claims(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine(candidates_shown=1)
    claimed = crowd(engine, 4)[::-1]
    events = hear(engine.verify(claimed), speech, {0: 1.0, 1: 2.0})
    assert isinstance(events[0], SessionStarted)
    for event in events:
        if isinstance(event, ScoreUpdated):
            assert tuple(score.speaker for score in event.scores) == events[0].speakers


def test_scores_say_only_what_is_known(scored_engine: Callable[..., Engine], speech: bytes) -> None:
    engine = scored_engine()
    events = hear(engine.verify(crowd(engine, 1)), speech, {0: 2.0})
    updates = [event for event in events if isinstance(event, ScoreUpdated)]
    assert {event.channel for event in updates} == {"wideband"}
    assert updates[0].snr_db is None
    assert all(event.scores[0].normalized is None for event in updates)
    assert updates[-1].scores[0].cosine == pytest.approx(0.2)
    assert updates[-1].scores[0].llr == pytest.approx(2.0)


def test_scores_can_be_given_less_often(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    often = scored_engine()
    rarely = scored_engine(update_every_hops=10)
    every = hear(often.verify(crowd(often, 1)), speech, {0: 5.0})
    tenth = hear(rarely.verify(crowd(rarely, 1)), speech, {0: 5.0})
    updates = [event for event in every if isinstance(event, ScoreUpdated)]
    assert [event for event in tenth if isinstance(event, ScoreUpdated)] == updates[9::10]
    assert isinstance(tenth[0], SessionStarted)
    assert tenth[0].update_interval_s == pytest.approx(0.8)


@pytest.mark.parametrize("every", [2, 10, 100, 750])
def test_decisions_are_the_same_however_rare_the_updates(
    engine: Engine,
    engine_with: Callable[..., Engine],
    voiceprints: Any,
    voice: Callable[..., Any],
    heard: Callable[..., list[Event]],
    every: int,
) -> None:
    speech = encode_s16le(voice("a", 20))
    claimed = [voiceprints["a"], voiceprints["b"]]
    often = decisions(heard(engine.verify(claimed), speech))
    assert Verdict.ACCEPT in {decision.verdict for decision in often}
    assert decisions(heard(engine_with(update_every_hops=every).verify(claimed), speech)) == often


def test_the_end_is_decided_on_all_speech_however_rare_the_updates(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine(update_every_hops=750)
    (decision,) = decisions(hear(engine.verify(crowd(engine, 1)), speech, {0: 5.0}))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.score is not None
    assert decision.net_speech_s > 3.0


def test_nothing_is_decided_before_the_least_net_speech(
    scored_engine: Callable[..., Engine], speech: bytes
) -> None:
    engine = scored_engine(
        decision=DecisionConfig(
            accept_llr=2.0, reject_llr=-2.5, min_net_speech_s=60.0, max_net_speech_s=90.0
        )
    )
    (decision,) = decisions(hear(engine.verify(crowd(engine, 1)), speech, {0: 9.0}))
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.reason is Reason.NOT_ENOUGH_SPEECH


def test_one_voiceprint_needs_no_list(engine: Engine, voiceprints: Any) -> None:
    (one,) = engine.verify(voiceprints["a"]).push(b"")
    (listed,) = engine.verify([voiceprints["a"]]).push(b"")
    assert one == listed


@pytest.mark.parametrize("mode", ["verify", "identify"])
def test_no_voiceprint_is_a_named_error(engine: Engine, mode: str) -> None:
    with pytest.raises(UnknownSpeaker, match="enroll somebody"):
        getattr(engine, mode)([])


@pytest.mark.parametrize("mode", ["verify", "identify"])
@pytest.mark.parametrize("name", ["alice", ["alice"], None, 7, b"alice"])
def test_what_is_no_voiceprint_is_a_named_error_that_says_what_to_pass(
    engine: Engine, mode: str, name: Any
) -> None:
    with pytest.raises(ConfigError, match=rf"{mode}\(\) takes voiceprints.*store\.get\(speaker\)"):
        getattr(engine, mode)(name)


@pytest.mark.parametrize("audio", [16_000, "s16le", ("s16le", 16_000)])
def test_what_is_no_format_is_a_named_error_that_says_what_to_pass(
    engine: Engine, voiceprints: Any, audio: Any
) -> None:
    starts: list[Callable[[], Any]] = [
        lambda: engine.verify(voiceprints["a"], audio),
        lambda: engine.identify([voiceprints["a"]], audio),
        lambda: engine.enroll("alice", audio),
        lambda: engine.enroll("alice").next_recording(audio),
    ]
    for start in starts:
        with pytest.raises(UnsupportedAudio, match="pass an AudioFormat, such as"):
            start()


@pytest.mark.parametrize("gap_s", ["1 s", None, [1], -1.0, 0, math.inf, math.nan, 10**400])
def test_a_gap_that_is_no_seconds_is_a_named_error_and_changes_nothing(
    engine: Engine, voiceprints: Any, speech: bytes, gap_s: Any
) -> None:
    session, again = engine.verify(voiceprints["a"]), engine.verify(voiceprints["a"])
    events = session.push(speech[:40_001])
    with pytest.raises(UnsupportedAudio, match="use seconds"):
        session.gap(gap_s)
    events += session.push(speech[40_001:]) + session.finish()
    assert events == again.push(speech[:40_001]) + again.push(speech[40_001:]) + again.finish()


@pytest.mark.parametrize("mode", ["verify", "identify"])
def test_a_speaker_claimed_twice_is_a_named_error(
    engine: Engine, voiceprints: Any, mode: str
) -> None:
    with pytest.raises(ConfigError, match="twice"):
        getattr(engine, mode)([voiceprints["a"], voiceprints["b"], voiceprints["a"]])


@pytest.mark.parametrize("mode", ["verify", "identify"])
def test_a_voiceprint_of_another_model_is_a_named_error(
    engine: Engine, voiceprints: Any, mode: str
) -> None:
    foreign = Voiceprint("stranger", axis(engine, 0), "f" * 64, 10.0, 1, "wideband", DATED, DATED)
    with pytest.raises(ModelMismatch, match="'stranger'"):
        getattr(engine, mode)([voiceprints["a"], foreign])


def test_an_unknown_mode_is_a_named_error(engine: Engine, voiceprints: Any) -> None:
    with pytest.raises(ConfigError, match="allowed are verify and identify"):
        VerificationSession(
            engine.encoder,
            engine.calibration,
            engine.config,
            [voiceprints["a"]],
            AudioFormat(),
            mode="guess",
        )


def test_a_channel_without_calibration_is_refused_before_any_audio(
    engine: Engine, voiceprints: Any
) -> None:
    line = Line((1.0,), (0.0,))
    fixed = EngineConfig(decision=DecisionConfig(accept_llr=2.0, reject_llr=-2.5))
    calibration = Calibration(engine.fingerprint, (1.0,), {"telephone": line})
    narrow = Engine(engine.encoder, calibration, fixed)
    with pytest.raises(ConfigError, match="wideband"):
        narrow.verify(voiceprints["a"])
    assert narrow.verify(voiceprints["a"], AudioFormat("alaw", 8_000)).push(b"")


def test_a_channel_without_a_rule_is_refused_unless_thresholds_are_fixed(
    engine: Engine, voiceprints: Any
) -> None:
    calibration = Calibration(engine.fingerprint, (1.0,), {"wideband": Line((1.0,), (0.0,))})
    with pytest.raises(ConfigError, match="at least 49 people"):
        Engine(engine.encoder, calibration).verify(voiceprints["a"])
    fixed = EngineConfig(decision=DecisionConfig(accept_llr=2.0, reject_llr=-2.5))
    session = Engine(engine.encoder, calibration, fixed).verify(voiceprints["a"])
    assert session.policy.promised_error_rate is None


def test_a_voiceprint_of_another_size_is_refused_by_name(engine: Engine, voiceprints: Any) -> None:
    short = dataclasses.replace(voiceprints["a"], speaker="mallory", embedding=np.ones(10))
    with pytest.raises(ModelMismatch, match=r"mallory.*10 numbers"):
        engine.verify([voiceprints["b"], short])


def test_each_claim_is_judged_by_the_channels_of_its_own_trial(
    engine: Engine, voiceprints: Any, speech: bytes, heard: Callable[..., list[Event]]
) -> None:
    lines = {"wideband": Line((1.0,), (0.0,)), "mixed": Line((1.0,), (100.0,))}
    calibration = Calibration(engine.fingerprint, (1.0,), lines)
    claimed = [
        voiceprints["a"],
        dataclasses.replace(voiceprints["a"], speaker="by telephone", channel="telephone"),
        dataclasses.replace(voiceprints["b"], speaker="somebody else"),
    ]
    fixed = EngineConfig(decision=DecisionConfig(accept_llr=2.0, reject_llr=-2.5))
    events = heard(Engine(engine.encoder, calibration, fixed).verify(claimed), speech)
    own, across, other = next(e for e in events if isinstance(e, ScoreUpdated)).scores
    assert own.llr == pytest.approx(own.cosine)
    assert across.llr == pytest.approx(own.cosine + 100.0)
    assert other.llr == pytest.approx(other.cosine)
