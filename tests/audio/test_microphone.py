"""A microphone gives what it hears, says what it lost, and says why when it cannot.

The real thing is a PulseAudio null sink. What no real device does on demand (an overflow, odd
hardware, a missing library) is played by a sound card that the test drives.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import types

import numpy as np
import pytest

from streamsv.audio import AudioFormat, Lost, Microphone, list_devices, microphone
from streamsv.errors import AudioDeviceError, ConfigError


class PortAudioError(Exception):
    pass


class SoundCard(types.ModuleType):
    """What ``sounddevice`` looks like to the microphone; ``record`` is PortAudio's thread."""

    PortAudioError = PortAudioError

    def __init__(self, *devices: dict, default: int | None = 0) -> None:
        super().__init__("sounddevice")
        self.devices = [
            {
                "index": index,
                "name": f"mic {index}",
                "max_input_channels": 1,
                "default_samplerate": 16_000.0,
                **device,
            }
            for index, device in enumerate(devices or ({},))
        ]
        self.default = default
        self.only_channels: int | None = None
        self.stream: types.SimpleNamespace | None = None
        self.adc_s = 0.0

    def query_devices(self, kind=None):
        if kind is None:
            return self.devices
        if self.default is None:
            raise PortAudioError("Error querying device -1")
        return self.devices[self.default]

    def InputStream(self, **options):  # noqa: N802
        if self.only_channels not in (None, options["channels"]):
            raise PortAudioError("Invalid number of channels")

        def close(ignore_errors):
            if not self.stream.closed:
                self.stream.closed = True
                self.stream.finished_callback()

        self.stream = types.SimpleNamespace(
            **options, closed=False, start=lambda: None, close=close
        )
        return self.stream

    def record(self, *levels, lost_s=0.0):
        """One block of each level, after PortAudio itself lost ``lost_s``."""
        for level in levels:
            self.adc_s += lost_s
            status = types.SimpleNamespace(input_overflow=lost_s > 0)
            frames = self.stream.blocksize
            data = np.full((frames, self.stream.channels), level, np.float32)
            clock = types.SimpleNamespace(inputBufferAdcTime=self.adc_s)
            self.stream.callback(data, frames, clock, status)
            data[:] = np.nan
            self.adc_s += frames / self.stream.samplerate
            lost_s = 0.0


@pytest.fixture
def plug_in(monkeypatch):
    def plug(*devices, **options):
        card = SoundCard(*devices, **options)
        monkeypatch.setitem(sys.modules, "sounddevice", card)
        return card

    return plug


def heard(mic, items):
    """The next items, blocks as their level."""
    iterator = iter(mic)
    found = [next(iterator) for _ in range(items)]
    return [item if isinstance(item, Lost) else round(float(item[0]), 3) for item in found]


def test_blocks_come_in_order_at_the_devices_own_rate(plug_in):
    card = plug_in({"default_samplerate": 44_100.0})
    with Microphone(block_ms=20) as mic:
        assert (mic.sample_rate, mic.format) == (44_100, AudioFormat("f32le", 44_100, 1))
        card.record(0.1, 0.2, 0.3)
        assert (card.stream.samplerate, card.stream.blocksize) == (44_100, 882)
        assert heard(mic, 3) == [0.1, 0.2, 0.3]


def test_a_full_queue_loses_the_newest_and_says_how_much_in_its_place(plug_in):
    card = plug_in()
    with Microphone(max_queue_s=0.1) as mic:
        card.record(*[0.1] * 5, *[0.9] * 10)
        iterator = iter(mic)
        for _ in range(5):
            assert next(iterator)[0] == pytest.approx(0.1)
        card.record(0.2)
        assert next(iterator).seconds == pytest.approx(0.2)
        assert next(iterator)[0] == pytest.approx(0.2)


def test_an_overflow_of_portaudio_is_marked_before_the_block_that_follows(plug_in):
    card = plug_in()
    with Microphone() as mic:
        card.record(0.1)
        card.record(0.2, lost_s=0.25)
        first, lost, second = heard(mic, 3)
    assert (first, second) == (0.1, 0.2)
    assert lost.seconds == pytest.approx(0.25)


def test_an_overflow_that_no_clock_measured_counts_as_one_block(plug_in):
    card = plug_in()
    with Microphone(block_ms=30) as mic:
        card.record(0.2, lost_s=1.0)
        assert heard(mic, 1) == [Lost(0.03)]


def test_what_is_lost_last_is_still_told_when_the_device_goes(plug_in):
    card = plug_in()
    with Microphone(max_queue_s=0.02) as mic:
        card.record(0.1, 0.2)
        card.stream.finished_callback()
        iterator = iter(mic)
        assert next(iterator)[0] == pytest.approx(0.1)
        assert next(iterator) == Lost(0.02)
        with pytest.raises(AudioDeviceError, match="stopped"):
            next(iterator)


def test_a_rate_above_48_khz_is_brought_to_48_khz(plug_in):
    card = plug_in({"default_samplerate": 96_000.0})
    with Microphone() as mic:
        assert mic.sample_rate == mic.format.sample_rate == 48_000
        card.record(*[0.5] * 50)
        card.record(0.5, lost_s=0.5)
        blocks = []
        for item in mic:
            if isinstance(item, Lost):
                break
            blocks.append(item)
    pcm = np.concatenate(blocks)
    assert len(pcm) == 48_000
    assert pcm[24_000] == pytest.approx(0.5, abs=1e-3)


def test_a_device_that_only_opens_in_stereo_is_averaged(plug_in):
    card = plug_in({"max_input_channels": 2})
    card.only_channels = 2
    with Microphone() as mic:
        card.record(0.25)
        assert heard(mic, 1) == [0.25]


def test_a_device_that_cannot_be_opened_says_why_and_what_else_there_is(plug_in):
    card = plug_in({}, {})
    card.only_channels = 99
    mic = Microphone(1)
    with pytest.raises(AudioDeviceError, match=r"'mic 1' cannot be opened.*0: mic 0; 1: mic 1"):
        mic.__enter__()


def test_a_device_that_falls_silent_is_taken_for_unplugged(plug_in, monkeypatch):
    monkeypatch.setattr(microphone, "_UNPLUGGED_AFTER_S", 0.05)
    card = plug_in()
    with Microphone() as mic:
        card.record(0.1)
        iterator = iter(mic)
        next(iterator)
        with pytest.raises(AudioDeviceError, match=r"sent no sound for 0.05 s.*plugged in"):
            next(iterator)
        assert card.stream.closed


def test_closing_from_another_thread_ends_the_iteration(plug_in):
    card = plug_in()
    with Microphone() as mic:
        card.record(0.1, 0.2)
        timer = threading.Timer(0.05, mic.close)
        timer.start()
        assert len(list(mic)) == 2
        timer.join()
        assert card.stream.closed
        assert list(mic) == list(mic) == []


def test_a_microphone_is_used_once_inside_its_with_statement(plug_in):
    plug_in()
    mic = Microphone()
    with pytest.raises(AudioDeviceError, match="with statement"):
        next(iter(mic))
    with mic:
        pass
    with pytest.raises(AudioDeviceError, match="Make a new Microphone"):
        mic.__enter__()


def test_devices_that_record_are_listed_with_the_default_marked(plug_in):
    plug_in({"name": "built in"}, {"name": "speaker", "max_input_channels": 0}, {"name": "usb"})
    devices = list_devices()
    assert [(d.index, d.name, d.is_default) for d in devices] == [
        (0, "built in", True),
        (2, "usb", False),
    ]


def test_a_device_is_chosen_by_index_name_or_part_of_a_name(plug_in):
    plug_in({"name": "USB Headset"}, {"name": "USB Camera"}, {"name": "USB"}, default=1)
    chosen = [Microphone(wanted).device.index for wanted in (None, 0, "camera", "USB")]
    assert chosen == [1, 0, 1, 2]


def test_without_a_default_the_first_device_is_taken(plug_in):
    plug_in({}, {}, default=None)
    assert Microphone().device.index == 0
    assert not any(device.is_default for device in list_devices())


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (7, r"There is no microphone 7\. There is: 0: USB Headset; 1: USB Camera\."),
        ("webcam", "There is no microphone 'webcam'. There is: 0: USB Headset"),
        ("usb", "Several microphones are called 'usb'; give an index"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_a_list(plug_in, wanted, sentence):
    plug_in({"name": "USB Headset"}, {"name": "USB Camera"})
    with pytest.raises(AudioDeviceError, match=sentence) as caught:
        Microphone(wanted)
    assert caught.value.value == wanted


def test_a_machine_without_microphone_says_so(plug_in):
    plug_in({"max_input_channels": 0}, default=None)
    with pytest.raises(AudioDeviceError, match=r"No microphone was found\. Plug one in"):
        Microphone()


@pytest.mark.parametrize("options", [{"block_ms": 0}, {"max_queue_s": -1}])
def test_a_block_or_queue_without_length_is_refused(plug_in, options):
    plug_in()
    with pytest.raises(ConfigError, match="positive"):
        Microphone(**options)


def run_python(code, env=None, timeout=60):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PortAudio comes with the package")
def test_a_missing_portaudio_is_named_with_its_package():
    done = run_python("""
        import ctypes.util
        ctypes.util.find_library = lambda name: None
        from streamsv.audio import list_devices
        from streamsv.errors import AudioDeviceError
        try:
            list_devices()
        except AudioDeviceError as error:
            print(error)
    """)
    assert "apt-get install libportaudio2" in done.stdout, done.stderr
    assert "macOS and Windows" in done.stdout


@pytest.mark.needs_portaudio
@pytest.mark.needs_pulseaudio
def test_what_is_played_into_a_real_sound_server_is_recorded(pulseaudio, tmp_path):
    rate = 48_000
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate).astype(np.float32)
    recording = tmp_path / "heard.npy"
    recorder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                import numpy as np
                from streamsv.audio import Lost, Microphone
                with Microphone() as mic:
                    blocks, seconds, first = [], 0.0, True
                    for item in mic:
                        if first:
                            print("recording", mic.device.is_default, flush=True)
                            first = False
                        if isinstance(item, Lost):
                            print("lost", item.seconds, flush=True)
                            continue
                        blocks.append(item)
                        seconds += len(item) / mic.sample_rate
                        if seconds > 3:
                            break
                np.save({str(recording)!r}, np.concatenate(blocks))
                print(mic.sample_rate, flush=True)
            """),
        ],
        env=pulseaudio.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert recorder.stdout.readline() == "recording True\n"
    player = pulseaudio.play(tone, rate)
    said, _ = recorder.communicate(timeout=30)
    assert player.wait(timeout=30) == 0
    assert recorder.returncode == 0
    recorded_rate = int(said.split()[-1])
    pcm = np.load(recording)
    level = np.sqrt(np.mean(np.square(pcm[: len(pcm) // 320 * 320].reshape(-1, 320)), axis=1))
    loud = pcm[np.flatnonzero(level > 0.3)[5] * 320 :][: recorded_rate // 2]
    spectrum = np.abs(np.fft.rfft(loud * np.hanning(len(loud))))
    assert np.argmax(spectrum) * recorded_rate / len(loud) == pytest.approx(1000, abs=4)
    assert (level > 0.3).sum() * 320 / recorded_rate == pytest.approx(2, abs=0.3)
    assert np.median(level[level > 0.3]) == pytest.approx(0.5 / np.sqrt(2), abs=0.01)


@pytest.mark.needs_portaudio
@pytest.mark.needs_pulseaudio
def test_a_real_sound_server_that_goes_away_ends_with_a_sentence(start_pulseaudio):
    with start_pulseaudio() as pulseaudio:
        recorder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent("""
                    from streamsv.audio import Microphone
                    from streamsv.errors import AudioDeviceError
                    try:
                        with Microphone() as mic:
                            for count, item in enumerate(mic):
                                if count == 5:
                                    print("recording", flush=True)
                    except AudioDeviceError as error:
                        print(error, flush=True)
                """),
            ],
            env=pulseaudio.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert recorder.stdout.readline() == "recording\n"
        pulseaudio.stop()
        said, _ = recorder.communicate(timeout=30)
    assert recorder.returncode == 0
    assert "Check that it is plugged in" in said


@pytest.mark.needs_portaudio
@pytest.mark.needs_pulseaudio
def test_a_consumer_that_is_too_slow_hears_how_much_a_real_device_lost(pulseaudio):
    done = run_python(
        """
        import time
        from streamsv.audio import Lost, Microphone
        with Microphone("pulse", max_queue_s=0.2) as mic:
            items = iter(mic)
            next(items)
            time.sleep(1.2)
            lost = next(item for item in items if isinstance(item, Lost))
            print(lost.seconds)
        """,
        env=pulseaudio.env,
    )
    assert done.returncode == 0, done.stderr
    assert 0.5 < float(done.stdout) < 1.5
