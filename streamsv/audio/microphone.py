"""A sound card, block by block.

PortAudio calls back from a thread of its own, which must never wait; blocks go through a bounded
queue to the thread that iterates. What is lost on the way is said, in order and with its length.
"""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamsv.audio.formats import MAX_SAMPLE_RATE, AudioFormat, Encoding
from streamsv.audio.resample import Resampler
from streamsv.errors import AudioDeviceError, ConfigError

_FIRST_BLOCK_WITHIN_S = 5.0
_UNPLUGGED_AFTER_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A device that sound can be recorded from.

    ``index`` and ``name`` both open it; ``default_sample_rate`` is the rate it is opened at.
    """

    index: int
    name: str
    channels: int
    default_sample_rate: int
    is_default: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """A stretch of sound that was recorded too fast to be taken: about ``seconds`` are missing."""

    seconds: float


class _Ended:
    """The last item of a queue: the stream stopped by itself, or the microphone was closed."""


class Microphone:
    """A device being recorded. Iterating gives its blocks, and ``Lost`` where some are missing.

    Recording starts with the ``with`` statement and ends with it, or with ``close`` from any
    thread, which ends the iteration. Blocks are float32, shape (samples,), in [-1, 1], mono, at
    ``sample_rate``; ``block.astype("<f4").tobytes()`` are bytes of ``format``.

    Parameters
    ----------
    device:
        Index or (part of the) name of a device, ``None`` for the system's default.
    block_ms:
        Milliseconds of sound in a block.
    max_queue_s:
        Seconds of sound that may wait for the iterating thread before some is lost.

    Attributes
    ----------
    device:
        The device that was chosen.
    sample_rate:
        Samples a second of the blocks: the device's own rate, or 48000 where that is more.
    format:
        What a session must be told to take the blocks' bytes.

    Raises
    ------
    AudioDeviceError
        If there is no such device or it cannot be opened; while iterating, if it goes away.
    ConfigError
        If ``block_ms`` or ``max_queue_s`` is not positive.
    """

    def __init__(
        self, device: int | str | None = None, block_ms: int = 20, max_queue_s: float = 10.0
    ) -> None:
        for name, value in (("block_ms", block_ms), ("max_queue_s", max_queue_s)):
            if not value > 0:
                raise ConfigError(f"{name} is {value!r}. Use a positive number.", value)
        self.device = _chosen(device)
        self._device_rate = self.device.default_sample_rate
        self.sample_rate = min(self._device_rate, MAX_SAMPLE_RATE)
        self.format = AudioFormat(Encoding.F32LE, self.sample_rate)
        self._block_frames = max(1, round(self._device_rate * block_ms / 1000))
        self._queue = _BlockQueue(self._device_rate, max_queue_s)
        self._resampler = Resampler(self._device_rate, self.sample_rate)
        self._stream: Any = None

    def __enter__(self) -> Self:
        if self._queue.is_closed:
            raise AudioDeviceError(
                "This microphone has been closed. Make a new Microphone to record again."
            )
        self._stream = self._started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[NDArray[np.float32] | Lost]:
        if self._stream is None and not self._queue.is_closed:
            raise AudioDeviceError(
                "The microphone is not recording yet. Iterate inside its with statement."
            )
        patience_s = _FIRST_BLOCK_WITHIN_S
        while (item := self._next(patience_s)) is not None:
            patience_s = _UNPLUGGED_AFTER_S
            if isinstance(item, Lost):
                block = self._resampler.finish()
            else:
                block = self._resampler.push(item)
            if len(block):
                yield np.clip(block, -1.0, 1.0)
            if isinstance(item, Lost):
                yield item

    def close(self) -> None:
        """Stop recording and end the iteration; closing twice does nothing."""
        self._queue.close()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(ignore_errors=True)

    def _next(self, patience_s: float) -> NDArray[np.float32] | Lost | None:
        try:
            item = self._queue.get(0.0 if self._queue.is_closed else patience_s)
        except queue.Empty:
            if self._queue.is_closed:
                return None
            self.close()
            raise AudioDeviceError(
                f"The microphone {self.device.name!r} has sent no sound for "
                f"{patience_s:g} s. Check that it is plugged in, then start again.",
                self.device.name,
            ) from None
        if not isinstance(item, _Ended):
            return item
        if self._queue.is_closed:
            return None
        self.close()
        raise AudioDeviceError(
            f"The microphone {self.device.name!r} stopped. "
            "Check that it is plugged in, then start again.",
            self.device.name,
        )

    def _started(self) -> Any:
        sounddevice = _sounddevice()
        problem: Exception | None = None
        for channels in sorted({1, min(2, self.device.channels), self.device.channels}):
            try:
                stream = sounddevice.InputStream(
                    samplerate=self._device_rate,
                    blocksize=self._block_frames,
                    device=self.device.index,
                    channels=channels,
                    dtype="float32",
                    callback=self._queue.callback,
                    finished_callback=self._queue.end,
                )
            except sounddevice.PortAudioError as error:
                problem = error
                continue
            try:
                stream.start()
            except sounddevice.PortAudioError as error:
                stream.close(ignore_errors=True)
                problem = error
                continue
            return stream
        raise AudioDeviceError(
            f"The microphone {self.device.name!r} cannot be opened: {problem}. Close other "
            f"programs that record from it, or choose another. {_inputs_in_words()}",
            self.device.name,
        ) from problem


class _BlockQueue:
    """Blocks on their way from PortAudio's thread to the iterating one."""

    def __init__(self, sample_rate: int, max_queue_s: float) -> None:
        self.is_closed = False
        self._sample_rate = sample_rate
        self._max_samples = max_queue_s * sample_rate
        self._items: queue.SimpleQueue[NDArray[np.float32] | Lost | _Ended] = queue.SimpleQueue()
        self._put_samples = 0
        self._taken_samples = 0
        self._lost_s = 0.0
        self._end_adc_s: float | None = None

    def callback(self, data: NDArray[np.float32], frames: int, clock: Any, status: Any) -> None:
        """Take one block, float32, shape (frames, channels), from PortAudio; never waits."""
        if status.input_overflow:
            self._lost_s += self._missing_s(frames, clock.inputBufferAdcTime)
        self._end_adc_s = clock.inputBufferAdcTime + frames / self._sample_rate
        if self._put_samples + frames - self._taken_samples > self._max_samples:
            self._lost_s += frames / self._sample_rate
            return
        if self._lost_s:
            self._items.put(Lost(self._lost_s))
            self._lost_s = 0.0
        self._put_samples += frames
        self._items.put(data.mean(axis=1, dtype=np.float32))

    def end(self) -> None:
        """Take note that the stream has stopped."""
        if self._lost_s:
            self._items.put(Lost(self._lost_s))
        self._items.put(_Ended())

    def close(self) -> None:
        """End the iteration once what is queued has been taken."""
        if not self.is_closed:
            self.is_closed = True
            self._items.put(_Ended())

    def get(self, timeout_s: float) -> NDArray[np.float32] | Lost | _Ended:
        item = self._items.get(timeout=timeout_s)
        if isinstance(item, np.ndarray):
            self._taken_samples += len(item)
        return item

    def _missing_s(self, frames: int, adc_s: float) -> float:
        """What PortAudio dropped before this block, by its own clock where that has moved."""
        jump_s = adc_s - self._end_adc_s if self._end_adc_s is not None else 0.0
        return jump_s if jump_s > 0 else frames / self._sample_rate


def list_devices() -> list[Device]:
    """The devices that sound can be recorded from.

    Raises
    ------
    AudioDeviceError
        If the PortAudio library is missing.
    """
    sounddevice = _sounddevice()
    try:
        default = sounddevice.query_devices(kind="input")["index"]
    except (sounddevice.PortAudioError, ValueError):
        default = None
    return [
        Device(
            index=found["index"],
            name=found["name"],
            channels=found["max_input_channels"],
            default_sample_rate=round(found["default_samplerate"]),
            is_default=found["index"] == default,
        )
        for found in sounddevice.query_devices()
        if found["max_input_channels"] > 0
    ]


def _chosen(wanted: int | str | None) -> Device:
    devices = list_devices()
    if wanted is None:
        found = [device for device in devices if device.is_default] or devices[:1]
    elif isinstance(wanted, int):
        found = [device for device in devices if device.index == wanted]
    else:
        found = [device for device in devices if device.name == wanted] or [
            device for device in devices if wanted.lower() in device.name.lower()
        ]
    if len(found) == 1:
        return found[0]
    if not devices:
        problem = "No microphone was found."
    elif found:
        problem = f"Several microphones are called {wanted!r}; give an index instead."
    else:
        problem = f"There is no microphone {wanted!r}."
    raise AudioDeviceError(f"{problem} {_inputs_in_words()}", wanted)


def _inputs_in_words() -> str:
    devices = list_devices()
    if not devices:
        return "Plug one in, or check that this program may use it, then start again."
    listed = "; ".join(f"{device.index}: {device.name}" for device in devices)
    return f"There is: {listed}."


def _sounddevice() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise AudioDeviceError(
            "Microphones cannot be used because the library PortAudio is missing. On Debian and "
            "Ubuntu: apt-get install libportaudio2. On macOS and Windows it comes with the "
            "package: pip install --force-reinstall sounddevice."
        ) from error
    return sounddevice
