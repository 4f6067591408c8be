"""One stream on its way from bytes to hops, and the order in which things are said about it.

Bytes are decoded, resampled, gated and cut into hops. What the gate has to say and the hops that
wait for the network stand in one queue, in media order, so that a listener hears ``speech_ended``
after the scores of that speech, however the caller cut the bytes and whoever runs the network.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import (
    SAMPLE_RATE,
    AudioFormat,
    Chunk,
    Decoder,
    GateConfig,
    Levels,
    Offset,
    Onset,
    Resampler,
    Speech,
    SpeechGate,
)
from streamsv.audio.formats import bytes_of
from streamsv.audio.level import CLIPPED_FROM, FRAME_SAMPLES, frame_power, power_dbfs
from streamsv.errors import UnsupportedAudio
from streamsv.events import AudioGap, Event, SpeechEnded, SpeechStarted

Floats = NDArray[np.float32]


@dataclasses.dataclass(slots=True, eq=False)
class QueuedHop:
    """A hop that waits for the network: its number from 0, ``pcm`` (hop_samples,) float32, where
    it ends in the source, and the levels there. Not changed once it is made; not frozen, because
    that would double what it costs to make one.
    """

    number: int
    pcm: Floats
    end_position: int
    levels: Levels

    @property
    def at_s(self) -> float:
        """Media time of its last sample."""
        return self.end_position / SAMPLE_RATE


@dataclasses.dataclass(frozen=True, slots=True)
class StretchEnd:
    """A stretch of media time has passed: what the gate and the meters made of it.

    ``admitted_fraction`` of it passed the gate. ``level_dbfs`` is the level of everything in the
    stretch, speech or not; ``swing_db`` how far the level of its 30 ms frames moves, from the
    10th to the 90th percentile.
    """

    position: int
    admitted_fraction: float
    clipped_fraction: float
    level_dbfs: float
    swing_db: float
    levels: Levels


@dataclasses.dataclass(frozen=True, slots=True)
class RecordingEnd:
    """One recording, over ``channel``, has ended and another may begin."""

    position: int
    channel: str


Mark = StretchEnd | RecordingEnd
Item = Event | QueuedHop | Mark


def check_format(audio: object) -> None:
    """Raise UnsupportedAudio, with what to pass, unless ``audio`` is an `AudioFormat`."""
    if not isinstance(audio, AudioFormat):
        raise UnsupportedAudio(
            f"The format of the audio is {audio!r}; pass an AudioFormat, such as "
            'AudioFormat("s16le", 16000).',
            str(audio),
        )


class HopStream:
    """Bytes in, a queue of events and hops out; knows nothing of networks and scores.

    ``stretch_samples`` above 0 adds a :class:`StretchEnd` after each such stretch at 16 kHz, and
    at the end of a recording if half a stretch or more is left.
    """

    __slots__ = (
        *("_bytes", "_bytes_each", "_bytes_held", "_decoder", "_filled", "_gate"),
        *("_hop_samples", "_hops", "_may_wait", "_origin_s", "_pieces", "_position"),
        *("_resampler", "_source_samples", "_stretch", "_stretch_admitted"),
        *("_stretch_left", "_stretch_samples", "_waiting", "_waiting_samples"),
        *("_wanted_bytes", "_wanted_samples", "audio", "queue"),
    )

    def __init__(
        self, audio: AudioFormat, gate: GateConfig, hop_samples: int, stretch_samples: int = 0
    ) -> None:
        check_format(audio)
        self.queue: collections.deque[Item] = collections.deque()
        self._hop_samples = hop_samples
        self._stretch_samples = stretch_samples
        self._take_on(audio)
        self._gate = SpeechGate(gate)
        self._origin_s = 0.0
        self._source_samples = 0
        self._position = 0
        self._pieces: list[Floats] = []
        self._filled = 0
        self._bytes: list[bytes] = []
        self._bytes_held = 0
        self._waiting: list[Floats] = []
        self._waiting_samples = 0
        self._hops = 0
        self._stretch: list[Floats]
        self._start_stretch()

    @property
    def at_s(self) -> float:
        """Media time of everything fed so far, gaps included."""
        waiting = (self._bytes_held + self._decoder.pending_bytes) // self._bytes_each
        exact_s = self._origin_s + (self._source_samples + waiting) / self.audio.sample_rate
        # At the end the resampler may round half a sample up, and nothing is later than the end.
        return max(exact_s, self._position / SAMPLE_RATE)

    @property
    def net_speech_s(self) -> float:
        """Speech in the hops queued so far, in seconds."""
        return self._hops * self._hop_samples / SAMPLE_RATE

    def feed(self, chunk: Chunk) -> None:
        """Take any number of bytes. Raises UnsupportedAudio and changes nothing if they are bad."""
        if self._may_wait:
            data = chunk if type(chunk) is bytes else bytes_of(chunk)
            self._bytes.append(data)
            self._bytes_held += len(data)
            if self._bytes_held >= self._wanted_bytes:
                self._take_bytes()
            return
        pcm = self._decoder.decode(chunk)
        self._source_samples += len(pcm)
        if self.audio.sample_rate != SAMPLE_RATE:
            pcm = self._resampler.push(pcm)
        self._waiting.append(pcm)
        self._waiting_samples += len(pcm)
        if self._waiting_samples >= self._wanted_samples:
            self._take_waiting()

    def gap(self, gap_s: SupportsFloat) -> None:
        """The source lost ``gap_s`` seconds: time goes on, speech ends, filters start anew."""
        try:
            seconds = float(gap_s)
        except (TypeError, ValueError, OverflowError):
            seconds = math.nan
        if not 0 < seconds < 86_400:
            shown = f"{seconds} s" if math.isfinite(seconds) else repr(gap_s)
            raise UnsupportedAudio(
                f"A gap of {shown} is not possible; use seconds, a number above 0 and below a day.",
                seconds if math.isfinite(seconds) else str(gap_s),
            )
        self._flush()
        self._start_at(self.at_s + seconds)
        self.queue.append(AudioGap(self._position / SAMPLE_RATE, seconds))

    def next_recording(self, audio: AudioFormat) -> None:
        """One recording ends here; the next, maybe of another format, joins in media time."""
        check_format(audio)
        self.finish()
        self._start_at(self.at_s)
        self._take_on(audio)

    def finish(self) -> None:
        """The source has ended: what is in the filters is used, less than a hop is dropped."""
        self._flush()
        self._pieces, self._filled = [], 0
        if self._stretch_samples and 2 * self._stretch_left <= self._stretch_samples:
            self._end_stretch()
        self._start_stretch()
        self.queue.append(RecordingEnd(self._position, self.audio.channel))

    def _take_on(self, audio: AudioFormat) -> None:
        self.audio = audio
        self._decoder = Decoder(audio)
        self._bytes_each = audio.bytes_per_frame
        self._resampler = Resampler(audio.sample_rate)
        # Bytes of which none can be refused need not be looked at one packet at a time.
        self._may_wait = self._decoder.is_any_byte_audio and audio.sample_rate == SAMPLE_RATE
        self._want(FRAME_SAMPLES)

    def _start_at(self, at_s: float) -> None:
        self._origin_s = at_s
        self._source_samples = 0
        self._position = round(at_s * SAMPLE_RATE)
        self._gate.reset(self._position)

    def _flush(self) -> None:
        if self._bytes:
            self._decode(b"".join(self._bytes))
            self._bytes, self._bytes_held = [], 0
        self._take_waiting()
        self._take(self._resampler.finish())
        self._decoder.reset()
        self._follow(self._gate.finish())
        self._want(FRAME_SAMPLES)

    def _want(self, samples: int) -> None:
        """Nothing is to be had before so many more samples at 16 kHz have come."""
        self._wanted_samples = samples
        self._wanted_bytes = samples * self._bytes_each - self._decoder.pending_bytes

    def _take_bytes(self) -> None:
        """Take whole frames of the gate; what is less goes on waiting."""
        held = self._bytes
        data = held[0] if len(held) == 1 else b"".join(held)
        spare = (len(data) - self._wanted_bytes) % (FRAME_SAMPLES * self._bytes_each)
        if spare:
            data, rest = data[:-spare], data[-spare:]
            self._bytes, self._bytes_held = [rest], spare
        else:
            self._bytes, self._bytes_held = [], 0
        self._decode(data)
        self._look_ahead()

    def _decode(self, data: bytes) -> None:
        is_whole = self._decoder.is_plain_s16le and not self._decoder.pending_bytes
        pcm = self._decoder.decode(data)
        self._source_samples += len(pcm)
        self._take(pcm, data if is_whole else None)

    def _take_waiting(self) -> None:
        """Take what was fed, now that it changes something."""
        if self._waiting:
            waiting = self._waiting
            pcm = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            self._waiting, self._waiting_samples = [], 0
            self._take(pcm)
        self._look_ahead()

    def _look_ahead(self) -> None:
        """How much must come before it changes something.

        Outside speech the frame that opens the gate may be the last of as many as that takes.
        Inside, nothing is to be had before the frame in which the hop is full. One look at some
        frames costs less than as many looks.
        """
        if self._gate.is_open:
            frames = -(-(self._hop_samples - self._filled) // FRAME_SAMPLES)
        else:
            frames = self._gate.frames_to_onset
        self._want(frames * FRAME_SAMPLES - self._gate.held_samples)

    def _take(self, pcm: Floats, s16le: bytes | None = None) -> None:
        if self._stretch_samples:
            s16le = None
            while len(pcm) >= self._stretch_left:
                part, pcm = pcm[: self._stretch_left], pcm[self._stretch_left :]
                self._stretch.append(part)
                self._hear(part)
                self._end_stretch()
            self._stretch.append(pcm)
            self._stretch_left -= len(pcm)
        self._hear(pcm, s16le)

    def _hear(self, pcm: Floats, s16le: bytes | None = None) -> None:
        self._position += len(pcm)
        outputs = self._gate.push(pcm, s16le)
        if outputs:
            self._follow(outputs)

    def _end_stretch(self) -> None:
        heard = np.concatenate(self._stretch)
        whole = len(heard) - len(heard) % FRAME_SAMPLES
        frames_dbfs = [power_dbfs(frame_power(f)) for f in heard[:whole].reshape(-1, FRAME_SAMPLES)]
        low, high = np.percentile(frames_dbfs, (10, 90))
        self.queue.append(
            StretchEnd(
                self._position,
                (self._gate.admitted_samples - self._stretch_admitted) / len(heard),
                float(np.mean(np.abs(heard) >= CLIPPED_FROM)),
                power_dbfs(frame_power(heard)),
                float(high - low),
                self._gate.levels,
            )
        )
        self._start_stretch()

    def _start_stretch(self) -> None:
        self._stretch, self._stretch_left = [], self._stretch_samples
        self._stretch_admitted = self._gate.admitted_samples

    def _follow(self, outputs: list[Onset | Speech | Offset]) -> None:
        for output in outputs:
            if isinstance(output, Speech):
                self._queue_hops(output)
            elif isinstance(output, Onset):
                self.queue.append(SpeechStarted(output.position / SAMPLE_RATE))
            else:
                ended = SpeechEnded(output.position / SAMPLE_RATE, self.net_speech_s)
                self.queue.append(ended)

    def _queue_hops(self, speech: Speech) -> None:
        self._pieces.append(speech.pcm)
        self._filled += len(speech.pcm)
        if self._filled < self._hop_samples:
            return
        pcm, hop_samples = np.concatenate(self._pieces), self._hop_samples
        before = len(pcm) - len(speech.pcm)
        begin, taken = speech.end_position - len(pcm), 0
        while len(pcm) - taken >= hop_samples:
            hop = pcm[taken : taken + hop_samples]
            taken += hop_samples
            levels = speech.levels_after(taken - before)
            self.queue.append(QueuedHop(self._hops, hop, begin + taken, levels))
            self._hops += 1
        self._filled = len(pcm) - taken
        self._pieces = [pcm[taken:]] if self._filled else []
