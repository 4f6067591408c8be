"""What was no speech is forgotten: as the guard's log odds tell it, and with real voices.

Most tests answer the hops themselves, with the log odds and scores that they want, so that what is
tested is what the session makes of them. Each hop adds 1 to one pooled number, which counts what
the state has heard.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsv.audio import encode_s16le
from streamsv.engine import Engine, VerificationSession
from streamsv.engine.config import GuardConfig
from streamsv.engine.forgetting import KEEP_HOPS
from streamsv.engine.guard import HEARD, RECENT_HOPS
from streamsv.events import (
    DecisionMade,
    Event,
    Quality,
    QualityWarning,
    Reason,
    ScoreUpdated,
    SessionEnded,
    SpeechEnded,
    Verdict,
)
from streamsv.scoring.calibration import Calibration, Line
from streamsv.scoring.policy import Decision, DecisionConfig, Policy
from streamsv.voiceprints import Voiceprint

HOP_S = 0.08
LLR_PER_COSINE = 10.0
COUNTED = "pool.weight"
DATED = "2025-01-31T09:30:00Z"

SPEECH, MUSIC, NEITHER = 4.0, -4.0, 0.0
Plan = list[tuple[float, int, float]]
"""Stretches of a call: log odds of speech, hops, and the LLR that they give."""


@pytest.fixture(scope="module")
def scored(engine: Engine) -> Engine:
    """An engine that accepts an LLR of 2 and rejects one of -2, after a second."""
    line = Line((LLR_PER_COSINE,), (0.0,))
    channels = {"wideband": line, "telephone": line}
    calibration = Calibration(engine.fingerprint, (1.0,), channels)
    decision = DecisionConfig(accept_llr=2.0, reject_llr=-2.0, max_net_speech_s=60.0)
    guard = GuardConfig(below_loudest_db=None)  # the sound's own levels take no part
    config = type(engine.config)(decision=decision, guard=guard)
    return Engine(engine.encoder, calibration, config)


@pytest.fixture(scope="module")
def sound(voice: Callable[..., Any]) -> bytes:
    """Enough that passes the gate; what it sounds like is up to the plan."""
    return encode_s16le(np.tile(voice("b", 12), 3))


def claim(engine: Engine) -> Voiceprint:
    axis = np.eye(1, engine.encoder.dimension, dtype=np.float32)[0]
    return Voiceprint("alice", axis, engine.fingerprint, 10.0, 1, "wideband", DATED, DATED)


def play(session: VerificationSession, sound: bytes, plan: Plan) -> tuple[list[Event], list[float]]:
    """What is said to a call that goes by ``plan`` and ends with it, and what the state has
    counted before each hop of it.
    """
    events = session.feed(sound)
    counted = []
    for logit, hops, llr in plan:
        for _ in range(hops):
            hop = session.next_hop()
            assert hop is not None, "the plan is longer than the sound"
            counted.append(float(hop.state[COUNTED][0, 0, 0]))
            sums = hop.state[HEARD] * math.exp(-HOP_S / 10) + np.array([logit, 1.0], np.float32)
            state = {**hop.state, HEARD: sums, COUNTED: hop.state[COUNTED] + 1}
            embedding = np.zeros(session._encoder.dimension, np.float32)
            cosine = llr / LLR_PER_COSINE
            embedding[0], embedding[-1] = cosine, math.sqrt(1 - cosine**2)
            events += session.complete(hop, embedding, state)
    session._stream.queue.clear()  # the call ends here
    return events + session.close_input(), counted


def decisions(events: list[Event]) -> list[DecisionMade]:
    return [event for event in events if isinstance(event, DecisionMade)]


def updates(events: list[Event]) -> list[ScoreUpdated]:
    return [event for event in events if isinstance(event, ScoreUpdated)]


def test_nothing_is_left_of_music_before_speech(scored: Engine, sound: bytes) -> None:
    session = scored.verify(claim(scored))
    events, counted = play(session, sound, [(MUSIC, 10 * RECENT_HOPS, 0), (SPEECH, 50, 0)])
    assert max(counted[: 10 * RECENT_HOPS]) < RECENT_HOPS
    assert counted[10 * RECENT_HOPS] == 0
    assert [round(event.net_speech_s / HOP_S) for event in updates(events)] == [
        *range(1, RECENT_HOPS),  # before it is clear that it is none
        *range(RECENT_HOPS, 51),  # a second of speech must come before it counts
    ]
    assert events[-1].net_speech_s == pytest.approx(50 * HOP_S)
    assert counted[-1] == 49


def test_the_call_goes_on_from_before_the_music(scored: Engine, sound: bytes) -> None:
    session = scored.verify(claim(scored))
    plan = [(SPEECH, 60, 1.0), (MUSIC, 5 * RECENT_HOPS, -1.0), (SPEECH, 30, 1.5)]
    events, counted = play(session, sound, plan)
    net = [round(event.net_speech_s / HOP_S) for event in updates(events)]
    falls = [place for place, (a, b) in enumerate(itertools.pairwise(net), 1) if b <= a]
    assert len(falls) == 1
    kept = net[falls[0]]
    assert 60 - 2 * KEEP_HOPS <= kept <= 60
    assert updates(events)[falls[0]].scores[0].llr == pytest.approx(1.0)
    assert net[falls[0] + 1] > kept
    assert all(llr > 0 for llr in (u.scores[0].llr for u in updates(events)[falls[0] :]))
    assert counted[-1] + 1 == net[-1] == round(events[-1].net_speech_s / HOP_S)
    assert net[-1] <= kept + 30 + RECENT_HOPS * 3 / 8  # so much music in a second still passes


def test_what_is_neither_is_held_back_but_not_forgotten(scored: Engine, sound: bytes) -> None:
    session = scored.verify(claim(scored))
    events, counted = play(session, sound, [(NEITHER, 100, 5.0)])
    assert counted == list(range(100))
    assert events[-1].net_speech_s == pytest.approx(100 * HOP_S)
    (decision,) = decisions(events)
    assert (decision.verdict, decision.reason) == (Verdict.UNDECIDED, Reason.NOT_SPEECH)


def test_a_call_of_music_ends_without_a_score(scored: Engine, sound: bytes) -> None:
    events, _ = play(scored.verify(claim(scored)), sound, [(MUSIC, 100, 5.0)])
    (decision,) = decisions(events)
    assert (decision.verdict, decision.reason) == (Verdict.UNDECIDED, Reason.NOT_SPEECH)
    assert decision.score is None
    assert decision.net_speech_s == 0
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].net_speech_s == 0
    warned = [event.quality for event in events if isinstance(event, QualityWarning)]
    assert Quality.NOT_SPEECH in warned


def test_speech_ended_does_not_count_what_was_forgotten(scored: Engine, sound: bytes) -> None:
    session = scored.verify(claim(scored))
    plan = [(MUSIC, 70, 0.0), (SPEECH, 60, 0.0), (MUSIC, 60, 0.0)]
    events, _ = play(session, sound, plan)
    ended = [event for event in events if isinstance(event, SpeechEnded)]
    assert ended
    latest = 0.0
    for event in events:
        if isinstance(event, ScoreUpdated):
            latest = event.net_speech_s
        elif isinstance(event, SpeechEnded):
            assert event.net_speech_s <= latest + 1e-9


def test_a_verdict_after_music_rests_on_more_speech_than_any_look_before(
    scored: Engine, sound: bytes
) -> None:
    session = scored.verify(claim(scored))
    plan = [(SPEECH, 60, 1.0), (MUSIC, 40, 0.0), (SPEECH, 80, 5.0)]
    (decision,) = decisions(play(session, sound, plan)[0])
    assert decision.verdict is Verdict.ACCEPT
    assert decision.net_speech_s > 60 * HOP_S


class Watched:
    """A policy whose looks are written down."""

    def __init__(self, policy: Policy, looks: list[float]) -> None:
        self._policy, self._looks = policy, looks

    def look(self, llr: float, net_speech_s: float) -> Decision | None:
        self._looks.append(net_speech_s)
        return self._policy.look(llr, net_speech_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


@settings(max_examples=30, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from([SPEECH, SPEECH, MUSIC, NEITHER, 2.0, -2.0]),
            st.integers(1, 45),
            st.just(0.0),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_look_is_taken_twice_whatever_is_forgotten(
    scored: Engine, sound: bytes, plan: Plan
) -> None:
    session = scored.verify(claim(scored))
    looks: list[float] = []
    session._policies = {who: Watched(each, looks) for who, each in session._policies.items()}
    events, counted = play(session, sound, plan)
    assert all(a < b for a, b in itertools.pairwise(looks))
    assert len(looks) <= sum(hops for _, hops, _ in plan)
    assert events[-1].net_speech_s <= (counted[-1] + 1) * HOP_S + 1e-9


@pytest.mark.parametrize("llr", [5.0, -5.0])
def test_nothing_is_decided_before_there_is_enough_speech(
    scored: Engine, sound: bytes, llr: float
) -> None:
    at_s = []
    for logit in (4.0, 2.5):
        session = scored.verify(claim(scored))
        (decision,) = decisions(play(session, sound, [(logit, 100, llr)])[0])
        assert decision.verdict is (Verdict.ACCEPT if llr > 0 else Verdict.REJECT)
        at_s.append(decision.net_speech_s)
    clear, doubtful = at_s
    assert 80 / 4.0 * HOP_S <= clear < doubtful
    assert 80 / 2.5 * HOP_S <= doubtful <= 4.0


def test_nobody_looks_at_the_first_second_of_music_after_speech(
    scored: Engine, sound: bytes
) -> None:
    session = scored.verify(claim(scored))
    plan = [(SPEECH, 100, 1.0), (NEITHER, RECENT_HOPS, -1.0), (NEITHER, 10, -5.0)]
    (decision,) = decisions(play(session, sound, plan)[0])
    assert decision.verdict is Verdict.UNDECIDED


def pads(seconds: float) -> Any:
    """Slow chords, three triangle waves each."""
    roots = np.repeat([220.0, 174.6, 261.6, 196.0], round(seconds * 4_000))
    phases = [np.cumsum(roots * ratio) / 16_000 for ratio in (1.0, 1.26, 1.5)]
    waves = np.sum([2 * np.abs(2 * (phase % 1) - 1) - 1 for phase in phases], axis=0)
    return (0.08 * waves).astype(np.float32)


@pytest.fixture(scope="module")
def calls(voice: Callable[..., Any]) -> dict[str, bytes]:
    speech = voice("a", 10)
    return {
        "alone": encode_s16le(speech),
        "after music": encode_s16le(np.concatenate([pads(12), speech])),
        "around music": encode_s16le(np.concatenate([speech[:32_000], pads(8), speech[32_000:]])),
    }


@pytest.mark.parametrize("where", ["after music", "around music"])
def test_a_voice_is_recognized_in_spite_of_music(
    engine_with: Any, voiceprints: Any, heard: Any, calls: dict[str, bytes], where: str
) -> None:
    engine = engine_with(decision=DecisionConfig(accept_llr=1.0, reject_llr=-1.0))
    claimed = list(voiceprints.values())

    def verdicts_of(call: str) -> tuple[dict[str | None, Verdict], float]:
        events = heard(engine.verify(claimed), calls[call])
        return {d.speaker: d.verdict for d in decisions(events)}, events[-1].net_speech_s

    alone, alone_s = verdicts_of("alone")
    assert alone["a"] is Verdict.ACCEPT
    found, net_speech_s = verdicts_of(where)
    assert found == alone
    assert net_speech_s == pytest.approx(alone_s, abs=2.5)


@pytest.mark.parametrize("size", [320, 7_001, 64_000])
def test_what_is_forgotten_does_not_depend_on_the_chunks(
    engine: Engine, voiceprints: Any, heard: Any, calls: dict[str, bytes], size: int
) -> None:
    data = calls["around music"]
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    whole = heard(engine.verify(voiceprints["a"]), data)
    assert heard(engine.verify(voiceprints["a"]), chunks) == whole
