"""The gate lets speech through, nothing else, and says exactly where."""

from __future__ import annotations

import contextlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsv.audio import (
    AudioFormat,
    Decoder,
    GateConfig,
    Offset,
    Onset,
    Resampler,
    Speech,
    SpeechGate,
    encode_mulaw,
)
from streamsv.errors import ConfigError, ProtocolError

FRAME = 480
CUTS = st.lists(st.integers(1, 4000), min_size=1, max_size=20)


def outputs(pieces, config=None):
    gate = SpeechGate(config)
    found = [output for piece in pieces for output in gate.push(piece)]
    return [*found, *gate.finish()]


def frozen(found):
    """Outputs that can be compared with ``==``: speech frame by frame."""
    items = []
    for output in found:
        if not isinstance(output, Speech):
            items.append(output)
            continue
        frames = output.pcm.reshape(-1, FRAME)
        assert len(output.moments) == len(frames)
        begin = output.end_position - len(output.pcm)
        items += [
            (frame.tobytes(), begin + end, output.levels_after(end))
            for end, frame in zip(range(FRAME, len(output.pcm) + 1, FRAME), frames, strict=True)
        ]
        assert output.levels == items[-1][-1]
    return items


def admitted(found, length):
    """Which samples were admitted: bool, shape (length,)."""
    inside = np.zeros(length, bool)
    for output in found:
        if isinstance(output, Speech):
            start = output.end_position - len(output.pcm)
            assert not inside[start : output.end_position].any()
            inside[start : output.end_position] = True
    return inside


@contextlib.contextmanager
def scripted(script: str):
    """Gates made or reset in here have a detector that says what the test says, so that the rules
    are tested alone.
    """
    letters = iter(script)
    detector = mock.Mock(is_speech=lambda *_: next(letters) == "s")
    with mock.patch("webrtcvad.Vad", return_value=detector):
        yield


def run_script(script: str, **config):
    """One letter a frame: ``s`` is speech. Gives a letter a frame: ``+`` admitted, and outputs."""
    with scripted(script):
        gate = SpeechGate(GateConfig(**{"pre_roll_ms": 60, "hangover_ms": 90, **config}))
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, FRAME * len(script)).astype(np.float32)
    found = [*gate.push(noise), *gate.finish()]
    inside = admitted(found, len(noise)).reshape(-1, FRAME)
    assert (inside.all(axis=1) == inside.any(axis=1)).all()
    assert gate.admitted_samples == inside.sum()
    return "".join("+" if frame else "." for frame in inside.all(axis=1)), found


@settings(max_examples=25, deadline=None)
@given(sizes=CUTS)
def test_packet_splits_never_change_outputs(clips, split, sizes):
    pcm = clips.pcm("voice_b_call")
    assert frozen(outputs(split(pcm, sizes))) == frozen(outputs([pcm]))


@settings(max_examples=15, deadline=None)
@given(sizes=CUTS, rate=st.sampled_from([8000, 11_025, 22_050, 44_100]))
def test_packet_splits_never_change_outputs_from_bytes_to_speech(clips, split, sizes, rate):
    data = encode_mulaw(clips.pcm("voice_c_call")[:80_000])

    def run(pieces):
        decoder = Decoder(AudioFormat("mulaw", rate))
        resampler = Resampler(rate)
        gate = SpeechGate()
        found = [
            output
            for piece in pieces
            for output in gate.push(resampler.push(decoder.decode(piece)))
        ]
        return frozen([*found, *gate.push(resampler.finish()), *gate.finish()])

    assert run(split(data, sizes)) == run([data])


@pytest.mark.parametrize("name", ["voice_a_enroll", "voice_a_call", "voice_b_call", "voice_c_call"])
def test_real_speech_opens_the_gate_and_keeps_most_of_its_energy(clips, name):
    pcm = clips.pcm(name)
    found = outputs([pcm])
    inside = admitted(found, len(pcm))
    assert 0.5 < inside.mean() < 0.95
    assert np.square(pcm[inside]).sum() > 0.98 * np.square(pcm).sum()


def test_speech_carries_the_source_samples_at_its_positions(clips):
    pcm = clips.pcm("voice_a_call")
    found = outputs([pcm])
    segment_end = None
    for output in found:
        match output:
            case Onset(position):
                segment_end = position
            case Speech():
                assert output.end_position - len(output.pcm) == segment_end
                segment_end = output.end_position
                source = pcm[output.end_position - len(output.pcm) : output.end_position]
                assert output.pcm.tobytes() == source.tobytes()
            case Offset(position):
                assert position == segment_end
                segment_end = None
    assert segment_end is None


def test_the_net_speech_clock_counts_what_was_admitted(clips):
    gate = SpeechGate()
    found = gate.push(clips.pcm("voice_a_call"))
    total = sum(len(output.pcm) for output in found if isinstance(output, Speech))
    assert gate.admitted_samples == total > 10 * 16_000


SECONDS = 5 * 16_000


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "pcm",
    [
        pytest.param(np.zeros(SECONDS), id="silence"),
        pytest.param(np.full(SECONDS, 0.5), id="DC"),
        pytest.param(np.full(SECONDS, -1.0), id="full-scale DC"),
        pytest.param(np.random.default_rng(3).normal(0, 3e-4, SECONDS), id="-70 dBFS noise"),
        pytest.param(
            0.4 + np.random.default_rng(4).normal(0, 3e-4, SECONDS), id="DC with -70 dBFS noise"
        ),
        pytest.param(
            1e-4 * np.sign(np.sin(np.arange(SECONDS) * 0.05)), id="a square wave of 3 quantum steps"
        ),
    ],
)
def test_what_is_not_sound_never_opens_the_gate(pcm, mode):
    assert outputs([pcm.astype(np.float32)], GateConfig(mode=mode)) == []


def test_very_quiet_speech_is_held_back_by_the_minimum_level(clips):
    quiet = clips.pcm("voice_a_call") * np.float32(1e-3)
    assert outputs([quiet]) == []
    assert outputs([quiet], GateConfig(mode=0, min_level_dbfs=-90.0)) != []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("....ss......", "..+++++++..."),
        ("....s.......", "............"),
        ("....s.s.s...", "............"),
        ("ss..........", "+++++......."),
        (".ss.........", "++++++......"),
        ("....ss.ss...", "..++++++++++"),
        ("....ss..s...", "..++++++++++"),
        ("...ss...ss..", ".+++++++++++"),
        ("...ss....ss.", ".+++++++++++"),
        ("...ss.....ss", ".+++++++++++"),
        ("...ss......ss", ".+++++++.++++"),
        ("....s.ss....", "....+++++++."),
        ("....sss", "..+++++"),
        ("......s", "......."),
    ],
)
def test_pre_roll_and_hangover_go_with_the_speech(script, expected):
    admitted_frames, _ = run_script(script, pre_roll_ms=60, hangover_ms=90, onset_frames=2)
    assert admitted_frames == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pre_roll_ms": 0}, "....+++++..."),
        ({"hangover_ms": 0}, "..++++......"),
        ({"hangover_ms": 0, "pre_roll_ms": 0}, "....++......"),
        ({"hangover_ms": 30}, "..+++++....."),
        ({"onset_frames": 1, "pre_roll_ms": 30}, "...++++++..."),
        ({"onset_frames": 3}, "............"),
    ],
)
def test_every_setting_does_what_it_says(config, expected):
    assert run_script("....ss......", **config)[0] == expected


def test_a_pre_roll_never_reaches_back_into_what_was_admitted():
    admitted_frames, found = run_script("..ss...ss...", pre_roll_ms=120, hangover_ms=90)
    assert admitted_frames == "++++++++++++"
    positions = [output.position // FRAME for output in found if isinstance(output, Onset | Offset)]
    assert positions == [0, 7, 7, 12]


def test_without_hangover_the_frame_that_closed_the_gate_can_be_pre_roll():
    admitted_frames, found = run_script("ss.ss", pre_roll_ms=60, hangover_ms=0)
    assert admitted_frames == "+++++"
    assert [o.position // FRAME for o in found if not isinstance(o, Speech)] == [0, 2, 2, 5]


@settings(max_examples=150, deadline=None)
@given(
    script=st.text("s.", max_size=60),
    pre_roll=st.integers(0, 4),
    hangover=st.integers(0, 4),
    onset=st.integers(1, 4),
)
def test_segments_are_ordered_and_hold_every_confirmed_frame_of_speech(
    script, pre_roll, hangover, onset
):
    frames, found = run_script(
        script, pre_roll_ms=30 * pre_roll, hangover_ms=30 * hangover, onset_frames=onset
    )
    run = 0
    for index, letter in enumerate(script):
        run = run + 1 if letter == "s" else 0
        if run >= onset:
            assert frames[index] == "+"
    kinds = "".join(type(output).__name__[:2] for output in found if not isinstance(output, Speech))
    assert kinds == "OnOf" * (len(kinds) // 4)
    positions = [output.position for output in found if not isinstance(output, Speech)]
    assert positions == sorted(positions)


def test_the_end_of_the_stream_closes_an_open_segment_and_drops_a_partial_frame():
    with scripted("ssss"):
        gate = SpeechGate(GateConfig())
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * FRAME + 479).astype(np.float32)
    assert isinstance(gate.push(noise)[0], Onset)
    assert gate.is_open
    assert gate.finish() == [Offset(3 * FRAME)]
    assert not gate.is_open
    assert gate.finish() == []
    with pytest.raises(ProtocolError, match="reset"):
        gate.push(noise)


def test_after_a_gap_positions_go_on_from_the_new_origin_and_clocks_are_kept(clips):
    pcm = clips.pcm("voice_c_call")
    gate = SpeechGate()
    first = [*gate.push(pcm[:50_123]), *gate.finish()]
    before = gate.admitted_samples
    levels = gate.levels
    gate.reset(1_000_007)
    assert gate.levels == levels
    second = [*gate.push(pcm[:50_123]), *gate.finish()]
    assert gate.admitted_samples == 2 * before

    def places(found, origin):
        return [
            (output.end_position if isinstance(output, Speech) else output.position) - origin
            for output in found
        ]

    assert places(second, 1_000_007) == places(first, 0)


def test_reset_forgets_held_samples_and_the_pre_roll():
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 10 * FRAME).astype(np.float32)
    with scripted("..ss"):
        gate = SpeechGate(GateConfig(pre_roll_ms=60))
        gate.push(noise[: 2 * FRAME + 100])
        gate.reset(0)
        onset, speech = gate.push(noise[: 2 * FRAME])
    assert onset == Onset(0)
    assert speech.pcm.tobytes() == noise[: 2 * FRAME].tobytes()


def test_what_the_caller_does_with_its_buffer_afterwards_does_not_matter(clips):
    pcm = clips.pcm("voice_c_call")[:64_000]
    buffer = np.zeros(777, np.float32)
    gate = SpeechGate()
    found = []
    for start in range(0, len(pcm), len(buffer)):
        piece = pcm[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        found += gate.push(buffer[: len(piece)])
        buffer[:] = 9
    assert frozen([*found, *gate.finish()]) == frozen(outputs([pcm]))


@pytest.mark.parametrize("snr_db", [0, 5, 10, 15])
def test_the_snr_of_speech_in_noise_is_measured_within_4_db(clips, snr_db):
    pcm = clips.pcm("voice_a_call")
    clean = SpeechGate()
    clean.push(pcm)
    speech_power = 10 ** (clean.levels.speech_dbfs / 10)
    noise = np.random.default_rng(5).normal(
        0, np.sqrt(speech_power / 10 ** (snr_db / 10)), len(pcm)
    )
    noisy = SpeechGate()
    noisy.push((pcm + noise).astype(np.float32))
    assert noisy.levels.snr_db == pytest.approx(snr_db, abs=4)


def test_an_overdriven_voice_is_seen_to_clip(clips):
    gate = SpeechGate()
    gate.push(np.clip(clips.pcm("voice_a_call") * 30, -1, 1))
    assert gate.levels.clipped_fraction > 0.05


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("mode", 4, "0, 1, 2 or 3"),
        ("pre_roll_ms", 50, "multiple of 30"),
        ("pre_roll_ms", -30, "multiple of 30"),
        ("hangover_ms", 100, "multiple of 30"),
        ("hangover_ms", "90", "multiple of 30"),
        ("onset_frames", 0, "from 1"),
        ("onset_frames", 1.5, "from 1"),
        ("min_level_dbfs", 1.0, "negative"),
        ("min_level_dbfs", float("nan"), "negative"),
        ("min_level_dbfs", None, "negative"),
    ],
)
def test_a_setting_that_is_not_allowed_is_refused_by_name(key, value, allowed):
    with pytest.raises(ConfigError, match=f"gate.{key}.*{allowed}"):
        GateConfig(**{key: value})
