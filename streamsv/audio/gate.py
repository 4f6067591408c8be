"""Only speech goes on: the gate between the sound and the network.

webrtcvad judges 30 ms frames of the 16 kHz signal. Runs of speech open the gate; what was heard
just before (the pre-roll) and the pause after (the hangover) are let through with the speech,
because a voice's soft edges are what a frame-wise detector misses.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from streamsv.audio.config import GateConfig
from streamsv.audio.formats import SAMPLE_RATE
from streamsv.audio.level import (
    CLIPPED_FROM,
    FRAME_MS,
    FRAME_SAMPLES,
    LevelMeter,
    Levels,
    Moment,
    clipped_samples,
    energy_and_power,
    levels_at,
)
from streamsv.errors import ProtocolError

_FRAME_BYTES = 2 * FRAME_SAMPLES
_LEAST_CLIPPED_ENERGY = 0.999 * CLIPPED_FROM**2


@dataclasses.dataclass(frozen=True, slots=True)
class Onset:
    """The gate opened; ``position`` is the first admitted sample, pre-roll included."""

    position: int


@dataclasses.dataclass(slots=True, eq=False)
class Speech:
    """Admitted sound: frames of 30 ms in a row, at an opening from the pre-roll on.

    Not changed once it is made; not frozen, because that would double what it costs to make one.

    Parameters
    ----------
    pcm:
        float32, shape (samples,), 16 kHz, in [-1, 1].
    end_position:
        Source position just after the last sample of ``pcm``.
    moments:
        The stream's meter after each frame, those before an opening having that of the opening:
        the same however the stream was cut.
    """

    pcm: NDArray[np.float32]
    end_position: int
    moments: list[Moment]

    @property
    def levels(self) -> Levels:
        """The stream's levels at ``end_position``."""
        return levels_at(self.moments[-1])

    def levels_after(self, samples: int) -> Levels:
        """The stream's levels after the frame that holds the last of the first ``samples``."""
        return levels_at(self.moments[(samples - 1) // FRAME_SAMPLES])


@dataclasses.dataclass(slots=True, eq=False)
class _Frame:
    """30 ms of the stream: ``pcm`` (480,) float32, its power, and how much of it clips."""

    pcm: NDArray[np.float32]
    power: float
    clipped: int


@dataclasses.dataclass(frozen=True, slots=True)
class Offset:
    """The gate closed; ``position`` is just after the last admitted sample, hangover included."""

    position: int


class SpeechGate:
    """The speech of one stream, in order, with exact source positions.

    Positions count samples at 16 kHz from the origin given to ``reset`` (0 at first). What comes
    out is identical for every way of cutting the stream, frame by frame.

    Parameters
    ----------
    config:
        How it judges.

    Attributes
    ----------
    meter:
        Running levels of speech and of the rest.
    """

    __slots__ = (
        *("_admitted", "_hangover_frames", "_is_finished", "_is_open", "_min_power"),
        *("_onset", "_position", "_pre_roll", "_pre_roll_frames", "_quiet_frames", "_run"),
        *("_tail", "_vad", "config", "meter"),
    )

    def __init__(self, config: GateConfig | None = None) -> None:
        self.config = config or GateConfig()
        self.meter = LevelMeter()
        self._pre_roll_frames = self.config.pre_roll_ms // FRAME_MS
        self._hangover_frames = self.config.hangover_ms // FRAME_MS
        self._min_power = 10 ** (self.config.min_level_dbfs / 10)
        self._admitted = 0
        self._start(0)

    def _start(self, position: int) -> None:
        self._vad = webrtcvad.Vad(self.config.mode)
        self._position = position
        self._tail = np.zeros(0, np.float32)
        self._run: Speech | None = None
        self._is_open = False
        self._is_finished = False
        self._quiet_frames = 0
        self._onset: list[_Frame] = []
        self._pre_roll: collections.deque[NDArray[np.float32]] = collections.deque(
            maxlen=self._pre_roll_frames
        )

    @property
    def admitted_samples(self) -> int:
        """Samples let through so far, over all resets: the clock of net speech."""
        return self._admitted

    @property
    def levels(self) -> Levels:
        """The levels after everything pushed so far."""
        return self.meter.levels

    @property
    def is_open(self) -> bool:
        """Whether the gate is inside a segment of speech."""
        return self._is_open

    @property
    def held_samples(self) -> int:
        """Samples that wait for the rest of their frame."""
        return len(self._tail)

    @property
    def frames_to_onset(self) -> int:
        """Frames of speech without which a closed gate does not open."""
        return self.config.onset_frames - len(self._onset)

    def push(
        self, pcm: NDArray[np.float32], s16le: bytes | None = None
    ) -> list[Onset | Speech | Offset]:
        """Judge more of the stream.

        Parameters
        ----------
        pcm:
            float32, shape (samples,), 16 kHz, in [-1, 1]. What is less than a frame waits.
        s16le:
            The same samples as 16-bit PCM, if they came so: they need not be converted back.
            ``pcm`` then is the gate's own, not to be changed.

        Returns
        -------
        For each segment an ``Onset``, its ``Speech`` and an ``Offset``, as far as they are known.

        Raises
        ------
        ProtocolError
            After ``finish``, until ``reset``.
        """
        if self._is_finished:
            raise ProtocolError("The gate has finished. Call reset() before pushing more audio.")
        if s16le is None or len(self._tail):
            held = np.concatenate((self._tail, pcm), dtype=np.float32)
            s16le = None
        else:
            held = pcm
        frames = len(held) // FRAME_SAMPLES
        whole = frames * FRAME_SAMPLES
        if whole < len(held) or len(self._tail):
            self._tail = held[whole:].copy()
        outputs: list[Onset | Speech | Offset] = []
        if not frames:
            return outputs
        data = _as_s16le(held[:whole]) if s16le is None else s16le
        self._run = None
        for end in range(FRAME_SAMPLES, whole + 1, FRAME_SAMPLES):
            frame = data[2 * end - _FRAME_BYTES : 2 * end]
            is_voiced = self._vad.is_speech(frame, SAMPLE_RATE, FRAME_SAMPLES)
            self._position += FRAME_SAMPLES
            self._judge(held, end, is_voiced, outputs)
        return outputs

    def finish(self) -> list[Onset | Speech | Offset]:
        """End the stream: an open segment is closed, a partial frame is dropped.

        Returns
        -------
        The ``Offset`` of the open segment, if there is one.
        """
        self._is_finished = True
        if not self._is_open:
            return []
        self._is_open = False
        return [Offset(self._position)]

    def reset(self, position: int) -> None:
        """Start anew at a source position, as after a gap.

        The detector and what it holds are new; levels and the clock of net speech go on. A
        segment that is open is forgotten without an ``Offset``: call ``finish`` first for that.
        """
        self._start(position)

    def _judge(
        self,
        block: NDArray[np.float32],
        end: int,
        is_voiced: bool,
        outputs: list[Onset | Speech | Offset],
    ) -> None:
        """Judge the frame of ``block`` before ``end``, and say so in ``outputs``."""
        pcm = block[end - FRAME_SAMPLES : end]
        energy, power = energy_and_power(pcm)
        if not is_voiced or power < self._min_power:
            self.meter.add_noise(power)
            if self._is_open:
                self._pause(block, end, outputs)
            else:
                if self._onset:
                    self._pre_roll.extend([held.pcm for held in self._onset])
                    self._onset.clear()
                self._pre_roll.append(pcm)
            return
        # One sample that clips has more energy than most frames in all.
        clipped = clipped_samples(pcm) if energy >= _LEAST_CLIPPED_ENERGY else 0
        if self._is_open:
            self._quiet_frames = 0
            self.meter.add_speech(power, clipped)
            self._admit(block, end, outputs)
            return
        self._onset.append(_Frame(pcm, power, clipped))
        if len(self._onset) >= self.config.onset_frames:
            self._open(outputs)

    def _open(self, outputs: list[Onset | Speech | Offset]) -> None:
        for frame in self._onset:
            self.meter.add_speech(frame.power, frame.clipped)
        held = [*self._pre_roll, *(frame.pcm for frame in self._onset)]
        pcm = np.concatenate(held)
        self._pre_roll.clear()
        self._onset.clear()
        self._is_open = True
        self._quiet_frames = 0
        self._admitted += len(pcm)
        outputs.append(Onset(self._position - len(pcm)))
        outputs.append(Speech(pcm, self._position, [self.meter.moment] * len(held)))

    def _pause(
        self, block: NDArray[np.float32], end: int, outputs: list[Onset | Speech | Offset]
    ) -> None:
        self._quiet_frames += 1
        if self._hangover_frames:
            self._admit(block, end, outputs)
            if self._quiet_frames < self._hangover_frames:
                return
            outputs.append(Offset(self._position))
        else:
            self._pre_roll.append(block[end - FRAME_SAMPLES : end])
            outputs.append(Offset(self._position - FRAME_SAMPLES))
        self._is_open = False
        self._run = None

    def _admit(
        self, block: NDArray[np.float32], end: int, outputs: list[Onset | Speech | Offset]
    ) -> None:
        """Admit the frame of ``block`` before ``end``: one output with those just before it."""
        self._admitted += FRAME_SAMPLES
        run = self._run
        if run is None:
            pcm = block[end - FRAME_SAMPLES : end]
            run = self._run = Speech(pcm, self._position, [self.meter.moment])
            outputs.append(run)
            return
        run.moments.append(self.meter.moment)
        run.pcm = block[end - len(run.moments) * FRAME_SAMPLES : end]
        run.end_position = self._position


def _as_s16le(pcm: NDArray[np.float32]) -> bytes:
    """``pcm`` as webrtcvad takes it."""
    scaled = pcm * np.float32(32_768)
    np.rint(scaled, out=scaled)
    np.minimum(scaled, 32_767, out=scaled)
    np.maximum(scaled, -32_768, out=scaled)
    return scaled.astype("<i2").tobytes()
