"""New rooms and new voices by packages that not everybody has."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from streamsv.errors import ConfigError
from training.batches import CropSource
from training.config import DataConfig
from training.prepare import Voice, prepare, voices_of
from training.rooms import simulate_rooms
from training.teachers import load_teacher
from training.warp import warp

CLIPS = Path(__file__).resolve().parents[2] / "streamsv" / "clips"


@pytest.fixture(scope="module")
def speech():
    pcm, rate = soundfile.read(CLIPS / "voice_a_call.opus", dtype="float32")
    return soxr.resample(pcm, rate, 16_000)[:32_000].astype(np.float32)


@pytest.fixture
def without(monkeypatch):
    """``without("pyworld")``: as if the package were not installed."""

    def hide(package: str) -> None:
        real = builtins.__import__

        def refuse(name, *arguments, **keywords):
            if name == package:
                raise ImportError(f"No module named {package!r}")
            return real(name, *arguments, **keywords)

        monkeypatch.setattr(builtins, "__import__", refuse)

    return hide


def has(package: str) -> None:
    try:
        __import__(package)
    except ImportError as error:
        pytest.skip(f"{package}: {error}")


def pitch_of(pcm):
    """The median over frames of the strongest period from 60 to 400 Hz, by autocorrelation."""
    found = []
    for start in range(0, len(pcm) - 800, 400):
        frame = pcm[start : start + 800]
        if np.sqrt(np.mean(frame**2)) < 0.02:
            continue
        spectrum = np.fft.rfft(frame * np.hanning(800), 2048)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)
        lag = 40 + int(np.argmax(correlation[40:266]))
        if correlation[lag] > 0.5 * correlation[0]:
            found.append(16_000 / lag)
    return np.median(found)


def center_of(pcm):
    power = np.abs(np.fft.rfft(pcm)) ** 2
    return (power * np.arange(len(power))).sum() / power.sum()


def test_pitch_and_formants_move_apart(speech):
    has("pyworld")
    higher = warp(speech, 1.3, 1.0)
    assert pitch_of(higher) / pitch_of(speech) == pytest.approx(1.3, rel=0.1)
    smaller = warp(speech, 1.0, 1.2)
    assert pitch_of(smaller) / pitch_of(speech) == pytest.approx(1.0, rel=0.1)
    assert center_of(smaller) > 1.1 * center_of(speech)
    assert smaller.shape == speech.shape
    assert np.sqrt(np.mean(smaller**2)) == pytest.approx(np.sqrt(np.mean(speech**2)), rel=0.1)


def test_a_warp_that_nobody_could_speak_is_refused(speech):
    with pytest.raises(ConfigError, match=r"0\.5 to 2"):
        warp(speech, 3.0, 1.0)


def test_without_the_vocoder_the_error_says_what_to_install(speech, without):
    without("pyworld")
    with pytest.raises(ConfigError, match="pyworld"):
        warp(speech, 1.1, 1.0)


def test_without_the_room_simulator_the_error_says_what_to_install(without):
    without("pyroomacoustics")
    with pytest.raises(ConfigError, match="pyroomacoustics"):
        simulate_rooms(1, 0)


def test_simulated_rooms_ring_and_are_the_same_for_the_same_seed():
    has("pyroomacoustics")
    rooms = simulate_rooms(2, 7)
    assert all(np.array_equal(a, b) for a, b in zip(rooms, simulate_rooms(2, 7), strict=True))
    for room in rooms:
        start = int(np.abs(room).argmax())
        assert 0 < np.square(room[start + 800 :]).sum() < np.square(room).sum()


def test_warped_speakers_are_speakers_of_their_own(tiny_config, tmp_path):
    has("pyworld")
    cache = tmp_path / "cache"
    teacher = load_teacher(tiny_config.teacher)
    prepare(Path(tiny_config.data.clips), teacher, cache, (1.0,), ((1.1, 0.92),))
    index = json.loads((cache / "warp-1.10-0.92" / "index.json").read_text())
    assert {clip["speaker"] for clip in index["clips"]} == {
        "a@1.10-0.92",
        "b@1.10-0.92",
        "c@1.10-0.92",
    }
    config = DataConfig(cache=str(cache), speeds=(1.0,), warps=((1.1, 0.92),))
    assert len(CropSource(config, 0, 0.5).class_sizes) == 6


def test_voices_have_folders_and_names_of_their_own():
    voices = voices_of((1.0, 0.9), ((1.1, 0.9),))
    assert voices == [Voice(), Voice(speed=0.9), Voice(pitch=1.1, formants=0.9)]
    assert [voice.folder(Path("c")).name for voice in voices] == [
        "speed-1.00",
        "speed-0.90",
        "warp-1.10-0.90",
    ]
