"""Who is near: a voice far below the loudest of the call does not count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from streamsv.audio import AudioFormat, GateConfig, encode_s16le
from streamsv.encoder import Batcher
from streamsv.engine import Engine, Session
from streamsv.engine.config import GuardConfig
from streamsv.engine.foreground import Foreground
from streamsv.engine.stream import HopStream
from streamsv.errors import ConfigError
from streamsv.events import DecisionMade, Event, Reason, ScoreUpdated, Verdict

HOP = 1_280
Voice = Callable[..., Any]
Heard = Callable[[Session, Iterable[bytes]], list[Event]]


def near(
    foreground: Foreground, levels_db: Iterable[float], is_speech: bool = True
) -> tuple[list[bool], list[int]]:
    """Which hops count, and at which of them a nearer voice was noticed.

    A voice's level moves: every other hop is 1 dB louder than said.
    """
    counts, noticed = [], []
    for number, level_db in enumerate(levels_db):
        power, end = 10 ** ((level_db + number % 2) / 10), (number + 1) * HOP
        counts.append(foreground.counts(power, end))
        if not counts[-1]:
            foreground.skip()
            continue
        foreground.hear(power, end, is_speech)
        if foreground.is_new:
            noticed.append(number)
            foreground.start_over()
    return counts, noticed


def watch(below_loudest_db: float | None = 20.0) -> Foreground:
    return Foreground(below_loudest_db, -42.0)


def test_what_is_far_below_the_loudest_counts_for_half_a_second_and_no_longer() -> None:
    counts, noticed = near(watch(), [-20.0] * 10 + [-45.0] * 20 + [-20.0] * 3)
    assert counts == [True] * 16 + [False] * 14 + [True] * 3
    assert noticed == []


def test_what_is_not_so_far_below_counts_on() -> None:
    counts, _ = near(watch(), [-20.0] * 10 + [-38.0] * 50)
    assert all(counts)


def test_a_click_is_not_the_loudest_voice() -> None:
    counts, noticed = near(watch(), [-45.0] * 30 + [-5.0, -5.0] + [-45.0] * 30)
    assert all(counts)
    assert noticed == []


def test_a_nearer_voice_is_noticed_once_after_what_was_background() -> None:
    _, noticed = near(watch(), [-50.0] * 40 + [-25.0] * 40)
    assert len(noticed) == 1
    assert 40 <= noticed[0] <= 45


def test_a_first_breath_is_no_background_to_forget() -> None:
    _, noticed = near(watch(), [-50.0] * 8 + [-20.0] * 60)
    assert noticed == []


def test_a_voice_that_swells_is_one_voice() -> None:
    _, noticed = near(watch(), [-55.0 + 0.5 * hop for hop in range(70)])
    assert noticed == []


def test_who_moves_away_is_heard_again_in_time() -> None:
    counts, _ = near(watch(), [-20.0] * 10 + [-45.0] * 400)
    silent_s = 0.08 * counts.count(False)
    assert 7 < silent_s < 13
    assert all(counts[-100:])


def test_what_is_no_speech_is_not_the_loudest_voice_however_loud() -> None:
    foreground = watch()
    near(foreground, [-40.0] * 20)
    near(foreground, [-5.0] * 20, is_speech=False)
    counts, noticed = near(foreground, [-40.0] * 20)
    assert all(counts)
    assert noticed == []


def test_what_keeps_its_level_is_not_the_loudest_voice() -> None:
    foreground = watch()
    near(foreground, [-40.0] * 20)
    for number in range(20):
        foreground.hear(10**-0.5, number * HOP, is_speech=True)
        assert not foreground.is_new
    assert all(near(foreground, [-40.0] * 20)[0])


def test_what_was_taken_for_speech_and_forgotten_is_not_the_loudest_voice_either() -> None:
    foreground = watch()
    near(foreground, [-40.0] * 20)
    kept = foreground.levels
    near(foreground, [-5.0] * 10)
    assert not near(foreground, [-40.0] * 20)[0][-1]
    foreground.go_back(kept)
    assert all(near(foreground, [-40.0] * 20)[0])


def test_all_is_faint_until_somebody_near_has_spoken() -> None:
    foreground = watch()
    assert not foreground.is_faint
    near(foreground, [-50.0] * 20)
    assert foreground.is_faint
    near(foreground, [-45.0] * 5, is_speech=False)
    assert foreground.is_faint
    near(foreground, [-30.0] * 5)
    assert not foreground.is_faint


def test_without_a_limit_everything_counts() -> None:
    counts, noticed = near(watch(None), [-60.0] * 30 + [-5.0] * 30 + [-80.0] * 30)
    assert all(counts)
    assert noticed == []


def keys(seconds: float, level_db: float) -> Any:
    """A key of a telephone, held."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    tone = np.sin(2 * np.pi * 770 * time) + np.sin(2 * np.pi * 1_336 * time)
    return (10 ** (level_db / 20) * tone).astype(np.float32)


def to_level(pcm: Any, level_db: float) -> Any:
    return np.asarray(10 ** (level_db / 20) * pcm / np.sqrt(np.mean(pcm**2)), np.float32)


@pytest.mark.parametrize("tone_s", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("before_s", [0, 10])
def test_a_loud_tone_does_not_shut_out_a_quiet_caller(
    engine: Engine,
    voiceprints: Any,
    voice: Voice,
    heard: Heard,
    tone_s: float,
    before_s: int,
) -> None:
    caller, tone = to_level(voice("a", 24), -35.0), keys(tone_s, -9.0)
    pause = np.zeros(3_200, np.float32)
    cut = before_s * 16_000
    pcm = np.concatenate([caller[:cut], pause, tone, pause, tone, pause, caller[cut:]])
    everything = type(engine.config)(guard=GuardConfig(below_loudest_db=None))
    found = []
    for of in (engine, Engine(engine.encoder, engine.calibration, everything)):
        events = heard(of.verify(voiceprints["a"]), [encode_s16le(pcm)])
        found.append(next(event for event in events if isinstance(event, DecisionMade)))
        found.append([event for event in events if isinstance(event, ScoreUpdated)][-1])
    decision, last, decision_of_all, last_of_all = found
    assert decision.verdict is decision_of_all.verdict
    assert last.net_speech_s > last_of_all.net_speech_s - 1.5


def test_a_leak_on_a_line_with_a_constant_is_a_leak(
    engine: Engine, voiceprints: Any, voice: Voice, heard: Heard
) -> None:
    pcm = np.concatenate([0.5 * voice("a", 8), 0.02 * voice("c", 8)])
    found = []
    for constant in (0.0, 0.05):
        events = heard(engine.verify(voiceprints["a"]), [encode_s16le(pcm + constant)])
        found.append([event for event in events if isinstance(event, ScoreUpdated)][-1])
    assert abs(found[0].net_speech_s - found[1].net_speech_s) < 0.5


def test_any_cut_and_any_batch_say_the_same_when_a_nearer_voice_comes(
    engine: Engine, voiceprints: Any, voice: Voice, heard: Heard
) -> None:
    data = encode_s16le(
        np.concatenate([0.03 * voice("c", 8), voice("a", 12), 0.03 * voice("c", 6)])
    )
    at_once = heard(engine.verify(list(voiceprints.values())), [data])
    pieces = [data[start : start + 1_111] for start in range(0, len(data), 1_111)]
    assert heard(engine.verify(list(voiceprints.values())), pieces) == at_once
    sessions = [engine.verify(list(voiceprints.values())) for _ in range(3)]
    batcher = Batcher(engine.encoder, 3)
    events: dict[int, list[Event]] = {number: [] for number in range(3)}
    for number, session in enumerate(sessions):
        events[number] += [*session.feed(data), *session.close_input()]
    while not all(session.is_ended for session in sessions):
        for stepped in batcher.step(sessions):
            events[sessions.index(stepped.session)] += stepped.events
    for said in events.values():
        assert [event.type for event in said] == [event.type for event in at_once]
        assert [event.at_s for event in said] == [event.at_s for event in at_once]


def test_a_model_without_a_head_or_a_guard_that_is_off_hears_everything(
    engine: Engine, voiceprints: Any, voice: Voice, heard: Heard
) -> None:
    data = encode_s16le(np.concatenate([voice("a", 8), 0.03 * voice("c", 8)]))
    off = type(engine.config)(guard=GuardConfig(is_on=False))
    unguarded = Engine(engine.encoder, engine.calibration, off)
    events = heard(unguarded.verify(voiceprints["a"]), [data])
    last = [event for event in events if isinstance(event, ScoreUpdated)][-1]
    hops = HopStream(AudioFormat(), GateConfig(), HOP)
    hops.feed(data)
    assert last.net_speech_s == pytest.approx(hops.net_speech_s)


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
