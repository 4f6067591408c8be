"""Sound goes through a session whole, with its losses, and however it ends there is a result."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from streamsv.audio import AudioFormat, Lost
from streamsv.cli.playback import Interrupted, InterruptWatch, Player, speed_of
from streamsv.cli.sounds import Sound, from_file
from streamsv.engine import Engine
from streamsv.errors import AudioDeviceError, UnsupportedAudio
from streamsv.events import AudioGap, DecisionMade, SessionEnded

FORMAT = AudioFormat("f32le", 16_000)


class Notes:
    """A screen that only remembers."""

    is_live = False

    def __init__(self):
        self.events = []
        self.at_s = []

    def show(self, events, at_s=None):
        self.events += events
        self.at_s.append(at_s)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def engine():
    return Engine.load()


@pytest.fixture
def session(engine, clips):
    enrollment = engine.enroll("alice", FORMAT, force=True)
    enrollment.push(clips.pcm("voice_a_enroll")[:64_000].astype("<f4").tobytes())
    enrollment.finish()
    return engine.verify(enrollment.voiceprint("2025-01-01T00:00:00Z"), FORMAT)


def sound_of(*pieces):
    return Sound("test", FORMAT, None, pieces)


def test_a_loss_becomes_a_gap_in_its_place_and_time_goes_on(session, clips):
    pcm = clips.pcm("voice_a_call")[:32_000]
    notes = Notes()
    with Player(session, notes) as player:
        player.play(sound_of(pcm, Lost(0.5), pcm))
    (gap,) = notes.of(AudioGap)
    assert (gap.at_s, gap.gap_s) == (2.5, 0.5)
    (ended,) = notes.of(SessionEnded)
    assert ended.at_s == notes.at_s[-1] == 4.5


def test_a_device_that_goes_away_leaves_the_result_so_far(session, clips):
    def pieces():
        yield clips.pcm("voice_a_call")[:32_000]
        raise AudioDeviceError("It was unplugged.")

    notes = Notes()
    with pytest.raises(AudioDeviceError), Player(session, notes) as player:
        player.play(Sound("test", FORMAT, None, pieces()))
    assert notes.of(DecisionMade)
    assert isinstance(notes.events[-1], SessionEnded)


def test_without_partial_results_an_error_leaves_none(session):
    notes = Notes()
    with (
        pytest.raises(AudioDeviceError),
        Player(session, notes, shows_partial_result=False),
    ):
        raise AudioDeviceError("It was unplugged.")
    assert not notes.of(SessionEnded)


def test_a_bug_is_not_dressed_up_as_a_result(session):
    notes = Notes()
    with pytest.raises(ZeroDivisionError), Player(session, notes):
        raise ZeroDivisionError
    assert not notes.of(SessionEnded)


def test_an_event_that_is_enough_ends_the_sound(session, clips):
    notes = Notes()
    pcm = clips.pcm("voice_a_call")
    with Player(session, notes) as player:
        blocks = (pcm[start : start + 1600] for start in range(0, len(pcm), 1600))
        player.play(Sound("", FORMAT, None, blocks), lambda event: event.at_s > 2)
    assert notes.of(SessionEnded)[0].at_s < 3


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as a program in the foreground has it; a script's background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_the_first_ctrl_c_waits_for_the_gap_between_blocks_and_the_second_does_not():
    with InterruptWatch() as watch:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            watch.check()
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
        assert not isinstance(caught.value, Interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_file_is_held_to_the_speed_that_is_asked_for(session, clips):
    pcm = clips.pcm("voice_a_call")[:16_000]
    began = time.monotonic()
    with Player(session, Notes(), speed=4.0) as player:
        player.play(sound_of(*np.split(pcm, 10)))
    assert time.monotonic() - began > 0.24


def test_without_a_watcher_files_are_not_held_and_microphones_never_are(clips):
    class Live(Notes):
        is_live = True

    with from_file(clips.path("voice_a_call")) as file:
        assert speed_of(file, Notes(), None) == 0
        assert speed_of(file, Notes(), 2.0) == 2.0
        assert speed_of(file, Live(), None) == 5.0
    hour = Sound("hour", FORMAT, 3600.0, ())
    assert 3600 / speed_of(hour, Live(), None) < 20
    assert speed_of(sound_of(), Live(), 3.0) == 0


def test_a_file_that_does_not_say_how_long_it_is_is_shown_and_paced_as_long_as_it_is(tmp_path):
    path = tmp_path / "piped.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 3 * 16_000), 16_000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the number of samples in the header: not known
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with from_file(path) as sound:
        assert sound.duration_s == 3.0
        assert sum(map(len, sound.pieces)) == 3 * 16_000
    path.write_bytes(data[: len(data) // 2])
    with from_file(path) as sound:
        assert 0.5 < sound.duration_s < 3.0
        with pytest.raises(UnsupportedAudio, match="is damaged after"):
            list(sound.pieces)
