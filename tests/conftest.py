"""What several rooms are tested with: bundled voices, and a microphone to be played into."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

CLIPS = Path(__file__).parent.parent / "streamsv" / "clips"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where ``STREAMSV_CI_REQUIRES`` is ``portaudio,pulseaudio``, a skipped test that is marked
    ``needs_portaudio`` or ``needs_pulseaudio`` has failed: its system package should be there."""
    report = yield
    required = {
        f"needs_{name.strip()}" for name in os.environ.get("STREAMSV_CI_REQUIRES", "").split(",")
    }
    missing = required & {marker.name for marker in item.iter_markers()}
    if report.skipped and not hasattr(report, "wasxfail") and missing:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{', '.join(sorted(missing))} is required here, but: {why}"
    return report


class Clips:
    """The recordings that come with the package: ``voice_a_enroll``, ``voice_a_call``, ..."""

    def __init__(self) -> None:
        self._read: dict[str, NDArray[np.float32]] = {}

    def path(self, name: str) -> Path:
        return CLIPS / f"{name}.opus"

    def pcm(self, name: str) -> NDArray[np.float32]:
        """float32, shape (samples,), 16 kHz, read-only."""
        if name not in self._read:
            pcm, rate = soundfile.read(self.path(name), dtype="float32")
            assert rate == 16_000
            pcm.flags.writeable = False
            self._read[name] = pcm
        return self._read[name]


@pytest.fixture(scope="session")
def clips() -> Clips:
    return Clips()


@dataclasses.dataclass(frozen=True)
class PulseAudio:
    """A PulseAudio server of the tests' own. A program that is started with ``env`` finds the
    monitor of the null sink ``streamsv_test`` as its default microphone."""

    env: dict[str, str]
    server: subprocess.Popen[bytes]
    sink: str = "streamsv_test"

    def play(
        self, sound: Path | NDArray[np.float32], rate: int = 16_000
    ) -> subprocess.Popen[bytes]:
        """Start to play a file, or mono samples at ``rate``; ``wait()`` on what is returned."""
        if isinstance(sound, Path):
            sound, rate = soundfile.read(sound, dtype="float32")
            if sound.ndim == 2:
                sound = sound.mean(axis=1)
        with tempfile.TemporaryFile() as raw:
            raw.write(sound.astype("<f4").tobytes())
            raw.seek(0)
            return subprocess.Popen(
                [
                    "pacat",
                    "--playback",
                    f"--device={self.sink}",
                    "--format=float32le",
                    f"--rate={rate}",
                    "--channels=1",
                    "--latency-msec=50",
                ],
                stdin=raw,
                env=self.env,
            )

    def stop(self) -> None:
        """End the server, as if every sound card had been pulled out; stopping twice is fine."""
        self.server.terminate()
        self.server.wait(timeout=10)

    def control(self, *arguments: str) -> str:
        """What ``pactl`` prints, given ``arguments``."""
        return subprocess.run(
            ["pactl", *arguments], env=self.env, check=True, capture_output=True, text=True
        ).stdout


def _skip_without_pulseaudio() -> None:
    for program, package in (
        ("pulseaudio", "pulseaudio"),
        ("pactl", "pulseaudio-utils"),
        ("pacat", "pulseaudio-utils"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program {program}: apt-get install {package}")
    if not list(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        pytest.skip("needs ALSA's PulseAudio plugin: apt-get install libasound2-plugins")
    try:
        import sounddevice  # noqa: F401
    except OSError:
        pytest.skip("needs PortAudio: apt-get install libportaudio2")


@contextlib.contextmanager
def _running_pulseaudio(directory: Path) -> Iterator[PulseAudio]:
    env = os.environ | {
        "XDG_RUNTIME_DIR": str(directory),
        "PULSE_RUNTIME_PATH": str(directory / "pulse"),
        "PULSE_STATE_PATH": str(directory / "state"),
        "PULSE_COOKIE": str(directory / "cookie"),
        "PULSE_SERVER": f"unix:{directory / 'native'}",
        "PULSE_SOURCE": "streamsv_test.monitor",
    }
    server = subprocess.Popen(
        [
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--disable-shm=yes",
            "--log-level=error",
            "--load=module-native-protocol-unix auth-anonymous=1 socket=" + f"{directory}/native",
            "--load=module-null-sink sink_name=streamsv_test rate=48000",
        ],
        env=env | {"HOME": str(directory)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pulseaudio = PulseAudio(env, server)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                pulseaudio.control("info")
                break
            except subprocess.CalledProcessError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.skip("the PulseAudio server did not start here")
                time.sleep(0.05)
        yield pulseaudio
    finally:
        pulseaudio.stop()


@pytest.fixture(scope="session")
def start_pulseaudio() -> Callable[[], contextlib.AbstractContextManager[PulseAudio]]:
    """Starts a server for one test, which may stop it."""
    _skip_without_pulseaudio()

    @contextlib.contextmanager
    def start() -> Iterator[PulseAudio]:
        with (
            tempfile.TemporaryDirectory(prefix="streamsv-pulse-") as directory,
            _running_pulseaudio(Path(directory)) as server,
        ):
            yield server

    return start


@pytest.fixture(scope="session")
def pulseaudio(
    start_pulseaudio: Callable[[], contextlib.AbstractContextManager[PulseAudio]],
) -> Iterator[PulseAudio]:
    """A server for all tests that leave it as it is."""
    with start_pulseaudio() as server:
        yield server
