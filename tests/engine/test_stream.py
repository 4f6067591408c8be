"""From bytes to hops: which samples are in a hop, where it ends, and what a stretch was like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from streamsv.audio import AudioFormat, GateConfig, encode_s16le
from streamsv.engine.stream import HopStream, QueuedHop, RecordingEnd, StretchEnd
from streamsv.events import SpeechEnded, SpeechStarted

HOP = 1_280
WIDEBAND = AudioFormat()

Voice = Callable[..., Any]


@pytest.fixture
def stream() -> HopStream:
    return HopStream(WIDEBAND, GateConfig(), HOP)


def hops(queue: Iterable[Any]) -> list[QueuedHop]:
    return [item for item in queue if isinstance(item, QueuedHop)]


def as_16_bit(pcm: Any) -> Any:
    return np.rint(np.clip(pcm, -1, 1) * 32_768).astype(np.float32) / 32_768


def test_a_hop_holds_the_samples_that_end_at_its_position(stream: HopStream, voice: Voice) -> None:
    pcm = voice("a", 4)
    stream.feed(encode_s16le(pcm))
    segments = sum(isinstance(item, SpeechStarted) for item in stream.queue)
    is_exact = [
        np.array_equal(hop.pcm, as_16_bit(pcm[hop.end_position - HOP : hop.end_position]))
        for hop in hops(stream.queue)
    ]
    assert len(is_exact) > 20
    assert is_exact.count(False) <= segments - 1


def test_the_first_hop_begins_where_speech_does(stream: HopStream, voice: Voice) -> None:
    pcm = voice("a", 2)
    stream.feed(encode_s16le(pcm))
    started = next(item for item in stream.queue if isinstance(item, SpeechStarted))
    begin = round(started.at_s * 16_000)
    assert np.array_equal(hops(stream.queue)[0].pcm, as_16_bit(pcm[begin : begin + HOP]))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_does_not_shift_positions(
    voice: Voice, in_format: Callable[..., bytes], rate: int
) -> None:
    pcm = voice("a", 3)
    audio = AudioFormat("s16le", rate)
    stream = HopStream(audio, GateConfig(), HOP)
    stream.feed(in_format(pcm, audio))
    found = hops(stream.queue)
    loudest = max(found, key=lambda hop: float(np.std(hop.pcm)))
    begin = loudest.end_position - HOP
    likeness = {
        shift: float(np.dot(loudest.pcm, pcm[begin + shift : begin + shift + HOP]))
        for shift in range(-20, 21)
    }
    assert max(likeness, key=lambda shift: likeness[shift]) == 0


def test_hops_are_numbered_and_count_net_speech(stream: HopStream, voice: Voice) -> None:
    stream.feed(encode_s16le(voice("a", 4)))
    found = hops(stream.queue)
    assert [hop.number for hop in found] == list(range(len(found)))
    assert all(hop.pcm.shape == (HOP,) for hop in found)
    assert stream.net_speech_s == pytest.approx(len(found) * 0.08)
    positions = [hop.end_position for hop in found]
    assert positions == sorted(set(positions))


def test_what_is_less_than_a_hop_waits_over_a_gap(stream: HopStream, voice: Voice) -> None:
    pcm = voice("a", 4, 0.5)
    stream.feed(encode_s16le(pcm[:40_000]))
    before = len(hops(stream.queue))
    stream.gap(1.0)
    stream.feed(encode_s16le(pcm[40_000:]))
    stream.finish()
    admitted = sum(
        ended.at_s - started.at_s
        for started, ended in zip(
            [item for item in stream.queue if isinstance(item, SpeechStarted)],
            [item for item in stream.queue if isinstance(item, SpeechEnded)],
            strict=True,
        )
    )
    assert len(hops(stream.queue)) > before
    assert len(hops(stream.queue)) == int(admitted * 16_000 + 0.5) // HOP


def test_no_sample_of_one_recording_is_in_a_hop_of_the_next(
    stream: HopStream, voice: Voice
) -> None:
    stream.feed(encode_s16le(voice("a", 3)))
    stream.next_recording(AudioFormat("s16le", 48_000))
    assert stream.at_s == 3.0
    end = stream.queue[-1]
    assert end == RecordingEnd(48_000, "wideband")
    second = voice("b", 2)
    stream.feed(encode_s16le(np.repeat(second, 3)))
    later = [item for item in stream.queue if isinstance(item, SpeechStarted)][-1]
    assert later.at_s >= 3.0
    first_after = next(hop for hop in hops(stream.queue) if hop.end_position > 48_000)
    assert first_after.end_position >= 48_000 + HOP


def test_a_recording_ends_over_the_channel_it_came_from(stream: HopStream) -> None:
    stream.next_recording(AudioFormat("mulaw", 8_000))
    stream.feed(b"\xff" * 8_000)
    stream.finish()
    ends = [item for item in stream.queue if isinstance(item, RecordingEnd)]
    assert ends == [RecordingEnd(0, "wideband"), RecordingEnd(16_000, "telephone")]


def stretches(pcm: Any, stretch_samples: int = 16_000) -> list[StretchEnd]:
    stream = HopStream(WIDEBAND, GateConfig(), HOP, stretch_samples)
    stream.feed(encode_s16le(pcm))
    stream.finish()
    return [item for item in stream.queue if isinstance(item, StretchEnd)]


def test_a_stretch_says_how_loud_how_even_and_how_clipped_it_was() -> None:
    time_s = np.arange(16_000) / 16_000
    tone = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 1_000 * time_s)
    clipped = np.clip(100 * tone, -1, 1)
    even, loud, quiet = stretches(np.concatenate([tone, clipped, np.zeros(16_000)]))
    assert even.level_dbfs == pytest.approx(-20.0, abs=0.05)
    assert even.swing_db < 0.1
    assert even.clipped_fraction == 0.0
    assert loud.clipped_fraction > 0.8
    assert (quiet.position, quiet.level_dbfs, quiet.swing_db) == (48_000, -120.0, 0.0)
    assert quiet.clipped_fraction == 0.0


def test_a_stretch_counts_the_share_that_was_admitted(voice: Voice) -> None:
    speech = voice("a", 1, 1.0)
    spoken, silent, mixed = stretches(
        np.concatenate([speech, np.zeros(16_000), speech[:8_000], np.zeros(8_000)])
    )
    assert spoken.admitted_fraction > 0.6
    assert silent.admitted_fraction < 0.15
    assert 0.2 < mixed.admitted_fraction < 0.7
    assert spoken.swing_db > 6.0


@pytest.mark.parametrize(("rest", "count"), [(7_999, 2), (8_000, 3), (15_999, 3), (0, 2)])
def test_the_rest_of_a_recording_is_a_stretch_from_half_on(rest: int, count: int) -> None:
    found = stretches(np.zeros(32_000 + rest))
    assert [end.position for end in found] == [16_000, 32_000, 32_000 + rest][:count]


def test_no_stretch_reaches_into_the_next_recording() -> None:
    stream = HopStream(WIDEBAND, GateConfig(), HOP, 16_000)
    for _ in range(2):
        stream.feed(bytes(2 * 20_000))
        stream.next_recording(WIDEBAND)
    found = [item for item in stream.queue if isinstance(item, StretchEnd)]
    assert [end.position for end in found] == [16_000, 36_000]


def test_without_stretches_there_are_none(stream: HopStream, voice: Voice) -> None:
    stream.feed(encode_s16le(voice("a", 3)))
    stream.finish()
    assert not any(isinstance(item, StretchEnd) for item in stream.queue)
