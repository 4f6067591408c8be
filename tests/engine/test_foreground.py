"""Who is near: a voice far below the loudest of the call does not count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from streamsv.audio import AudioFormat, GateConfig, encode_s16le
from streamsv.engine import Engine, Session
from streamsv.engine.foreground import Foreground
from streamsv.engine.guard import GuardConfig
from streamsv.engine.stream import HopStream, NearerVoice, QueuedHop
from streamsv.errors import ConfigError
from streamsv.events import DecisionMade, Event, Reason, ScoreUpdated, Verdict

HOP = 1_280
Voice = Callable[..., Any]
Heard = Callable[[Session, Iterable[bytes]], list[Event]]


def at(level_db: float) -> Any:
    """A hop of a tone at a level."""
    wave = np.sin(np.arange(HOP) * 0.3) * np.sqrt(2) * 10 ** (level_db / 20)
    return wave.astype(np.float32)


def near(foreground: Foreground, levels_db: Iterable[float]) -> tuple[list[bool], list[int]]:
    """Which hops count, and at which of them a nearer voice was noticed."""
    counts, noticed = [], []
    for number, level in enumerate(levels_db):
        counts.append(foreground.hear(at(level), (number + 1) * HOP))
        if foreground.is_new:
            noticed.append(number)
    return counts, noticed


def test_what_is_far_below_the_loudest_counts_for_half_a_second_and_no_longer() -> None:
    counts, noticed = near(Foreground(20.0), [-20.0] * 10 + [-45.0] * 20 + [-20.0] * 3)
    assert counts == [True] * 16 + [False] * 14 + [True] * 3
    assert noticed == []


def test_what_is_not_so_far_below_counts_on() -> None:
    counts, _ = near(Foreground(20.0), [-20.0] * 10 + [-38.0] * 50)
    assert all(counts)


def test_a_click_is_not_the_loudest_voice() -> None:
    counts, noticed = near(Foreground(20.0), [-45.0] * 30 + [-5.0, -5.0] + [-45.0] * 30)
    assert all(counts)
    assert noticed == []


def test_a_nearer_voice_is_noticed_once_after_what_was_background() -> None:
    _, noticed = near(Foreground(20.0), [-50.0] * 40 + [-25.0] * 40)
    assert len(noticed) == 1
    assert 40 <= noticed[0] <= 45


def test_a_first_breath_is_no_background_to_forget() -> None:
    _, noticed = near(Foreground(20.0), [-50.0] * 8 + [-20.0] * 60)
    assert noticed == []


def test_a_voice_that_swells_is_one_voice() -> None:
    _, noticed = near(Foreground(20.0), [-55.0 + 0.5 * hop for hop in range(70)])
    assert noticed == []


def test_who_moves_away_is_heard_again_in_time() -> None:
    counts, _ = near(Foreground(20.0), [-20.0] * 10 + [-45.0] * 400)
    silent_s = 0.08 * counts.count(False)
    assert 15 < silent_s < 25
    assert all(counts[-100:])


def test_a_stream_leaves_out_the_leak_and_says_when_a_nearer_voice_comes(voice: Voice) -> None:
    leak, caller = 0.03 * voice("c", 6), voice("a", 6)

    def heard(pcm: Any, below_loudest_db: float | None) -> list[Any]:
        stream = HopStream(AudioFormat(), GateConfig(), HOP, 0, below_loudest_db)
        stream.feed(encode_s16le(pcm))
        return [item for item in stream.queue if isinstance(item, QueuedHop | NearerVoice)]

    after = np.concatenate([caller, leak])
    ends = [hop.end_position for hop in heard(after, 20.0)]
    ends_of_all = [hop.end_position for hop in heard(after, None)]
    assert max(ends) < len(caller) + 16_000 < max(ends_of_all)
    before = heard(np.concatenate([leak, caller]), 20.0)
    (mark,) = (item for item in before if isinstance(item, NearerVoice))
    assert len(leak) < mark.position < len(leak) + 2 * 16_000


@pytest.mark.parametrize("leak_db", [-25, -30])
def test_an_agent_who_leaks_in_first_is_not_taken_for_the_caller(
    engine: Engine, voiceprints: Any, voice: Voice, heard: Heard, leak_db: float
) -> None:
    leak = 10 ** (leak_db / 20) * voice("c", 8.5)
    pcm = np.concatenate([leak, voice("a", 24)])
    events = heard(engine.verify(voiceprints["a"]), [encode_s16le(pcm)])
    (decision,) = (event for event in events if isinstance(event, DecisionMade))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.at_s > 8.5
    assert decision.net_speech_s < decision.at_s - 8.5
    alone = heard(engine.verify(voiceprints["a"]), [encode_s16le(voice("a", 24))])
    (undisturbed,) = (event for event in alone if isinstance(event, DecisionMade))
    assert decision.score is not None
    assert undisturbed.score is not None
    assert abs(decision.score.cosine - undisturbed.score.cosine) < 0.15


def test_an_agent_who_leaks_in_alone_decides_nothing_and_the_reason_is_said(
    engine: Engine, voiceprints: Any, voice: Voice, heard: Heard
) -> None:
    leak = 0.03 * np.concatenate([voice("c", 8.5), voice("b", 12)])
    events = heard(engine.verify(voiceprints["a"]), [encode_s16le(leak)])
    (decision,) = (event for event in events if isinstance(event, DecisionMade))
    assert (decision.verdict, decision.reason) == (Verdict.UNDECIDED, Reason.TOO_QUIET)
    assert sum(isinstance(event, ScoreUpdated) for event in events) > 50


def test_the_caller_alone_is_scored_as_if_there_were_no_agent_in_the_pauses(
    engine: Engine, voiceprints: Any, voice: Voice, heard: Heard
) -> None:
    caller, agent = voice("a", 24), 0.03 * voice("c", 17)
    parts = []
    for turn in range(4):
        parts += [caller[turn * 96_000 : (turn + 1) * 96_000]]
        parts += [agent[turn * 64_000 : (turn + 1) * 64_000]]
    pcm = np.concatenate(parts)
    unguarded = Engine(
        engine.encoder, engine.calibration, type(engine.config)(guard=GuardConfig(is_on=False))
    )

    def last(of: Engine, what: Any) -> ScoreUpdated:
        events = heard(of.verify(voiceprints["a"]), [encode_s16le(what)])
        return [event for event in events if isinstance(event, ScoreUpdated)][-1]

    alone, guarded, mixed = last(engine, caller), last(engine, pcm), last(unguarded, pcm)
    assert guarded.net_speech_s < alone.net_speech_s + 4 * 0.6
    assert mixed.net_speech_s > alone.net_speech_s + 4 * 2
    assert guarded.scores[0].cosine > mixed.scores[0].cosine


@pytest.mark.parametrize(
    "change",
    [
        {"below_loudest_db": 5.9},
        {"below_loudest_db": float("inf")},
        {"min_speech_dbfs": float("nan")},
    ],
)
def test_levels_that_make_no_sense_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        GuardConfig(**change)
