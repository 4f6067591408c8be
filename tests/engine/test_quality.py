"""Warnings about audio that the caller could mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamsv.audio import Levels, encode_s16le
from streamsv.engine import Engine, QualityConfig
from streamsv.engine.quality import QualityWatch
from streamsv.events import Event, Quality, QualityWarning

GOOD = Levels(snr_db=25.0, speech_dbfs=-22.0, noise_dbfs=-50.0, clipped_fraction=0.0)
UNKNOWN = Levels(snr_db=None, speech_dbfs=None, noise_dbfs=None, clipped_fraction=0.0)
CLIPPED = Levels(snr_db=25.0, speech_dbfs=-3.0, noise_dbfs=-50.0, clipped_fraction=0.2)
NOISY = Levels(snr_db=2.0, speech_dbfs=-22.0, noise_dbfs=-24.0, clipped_fraction=0.0)
FAINT = Levels(snr_db=20.0, speech_dbfs=-50.0, noise_dbfs=-70.0, clipped_fraction=0.0)


def warned(events: list[Event]) -> list[Quality]:
    return [event.quality for event in events if isinstance(event, QualityWarning)]


@pytest.mark.parametrize("levels", [GOOD, UNKNOWN])
def test_good_and_unknown_levels_are_not_warned_of(levels: Levels) -> None:
    assert QualityWatch(QualityConfig()).look(levels, 1.0) == []


@pytest.mark.parametrize(
    ("levels", "quality", "advice"),
    [
        (CLIPPED, Quality.CLIPPED, "20 % of the last second is clipped; lower"),
        (NOISY, Quality.NOISY, "2 dB above the noise; move closer"),
        (FAINT, Quality.TOO_QUIET, "-50 dBFS; raise"),
    ],
)
def test_a_warning_says_what_is_wrong_and_what_to_do(
    levels: Levels, quality: Quality, advice: str
) -> None:
    (warning,) = QualityWatch(QualityConfig()).look(levels, 1.5)
    assert (warning.at_s, warning.quality) == (1.5, quality)
    assert advice in warning.detail


def test_a_warning_is_given_again_only_after_a_while() -> None:
    watch = QualityWatch(QualityConfig(repeat_s=10.0))
    times_s = [at_s for at_s in range(1, 32) if watch.look(NOISY, float(at_s))]
    assert times_s == [1, 11, 21, 31]


def test_each_kind_of_warning_waits_for_itself() -> None:
    watch = QualityWatch(QualityConfig())
    assert warned([*watch.look(NOISY, 1.0)]) == [Quality.NOISY]
    assert warned([*watch.look(CLIPPED, 2.0)]) == [Quality.CLIPPED]
    assert warned([*watch.look(CLIPPED, 3.0)]) == []


def test_good_speech_gives_no_warning(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], heard: Callable[..., list[Event]]
) -> None:
    assert warned(heard(engine.verify(voiceprints["a"]), encode_s16le(voice("a", 6)))) == []


def test_clipped_speech_is_warned_of_once_in_a_while(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], heard: Callable[..., list[Event]]
) -> None:
    events = heard(engine.verify(voiceprints["a"]), encode_s16le(20 * voice("a", 6)))
    assert warned(events).count(Quality.CLIPPED) == 1


def test_speech_in_loud_noise_is_warned_of(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], heard: Callable[..., list[Event]]
) -> None:
    pcm = voice("a", 8)
    hiss = np.random.default_rng(0).standard_normal(len(pcm)) * np.std(pcm) * 10 ** (-3 / 20)
    events = heard(engine.verify(voiceprints["a"]), encode_s16le(pcm + hiss.astype(np.float32)))
    assert Quality.NOISY in warned(events)


def test_faint_speech_is_warned_of(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], heard: Callable[..., list[Event]]
) -> None:
    faint = voice("a", 6) * np.float32(0.03)
    assert Quality.TOO_QUIET in warned(heard(engine.verify(voiceprints["a"]), encode_s16le(faint)))
