"""Audio on its way from a socket to the engine: bounded, in order, honest about what it lost."""

from __future__ import annotations

import collections
import dataclasses
import threading

from streamsv.audio import AudioFormat

_BITE_S = 0.5
_MAX_ITEMS = 1024


@dataclasses.dataclass(slots=True)
class Audio:
    """Whole frames of audio, ``read_at`` (monotonic seconds) when the first of them was read."""

    data: bytearray
    read_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """The source lost ``frames`` of audio here; ``is_shed`` if it was this inbox that did."""

    frames: int
    is_shed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """Nothing comes after this."""


Item = Audio | Gap | End


class Inbox:
    """A queue with one writer, the event loop, and one reader, an engine thread.

    A real-time source cannot wait: when more than ``limit_s`` of its audio waits, the oldest is
    dropped until half as much is left, and a :class:`Gap` stands in its place. For another source
    the writer is told that the inbox is full, and is expected to stop reading.

    Parameters
    ----------
    audio:
        The format of the frames.
    limit_s:
        Seconds of audio that may wait.
    is_real_time:
        Whether the source cannot wait.
    """

    def __init__(self, audio: AudioFormat, limit_s: float, is_real_time: bool = False) -> None:
        self.audio = audio
        self.is_real_time = is_real_time
        bytes_per_s = audio.sample_rate * audio.bytes_per_frame
        self._limit_bytes = round(limit_s * bytes_per_s)
        self._bite_bytes = round(min(_BITE_S, limit_s / 4) * bytes_per_s)
        self._lock = threading.Lock()
        self._items: collections.deque[Item] = collections.deque()
        self._waiting_bytes = 0
        self._shed_frames = 0
        self._is_ended = False
        self._has_writer_waiting = False

    def put_audio(self, data: bytes, read_at: float) -> bool:
        """Take whole frames, read at ``read_at``; whether there is room for more."""
        with self._lock:
            last = self._items[-1] if self._items else None
            if isinstance(last, Audio) and len(last.data) < self._bite_bytes:
                last.data += data
            else:
                self._items.append(Audio(bytearray(data), read_at))
            self._waiting_bytes += len(data)
            return self._has_room()

    def put_gap(self, frames: int) -> bool:
        """The source lost so many frames; whether there is room for more."""
        with self._lock:
            self._items.append(Gap(frames))
            return self._has_room()

    def put_end(self) -> None:
        """Nothing comes any more. A second call does nothing."""
        with self._lock:
            if not self._is_ended:
                self._is_ended = True
                self._items.append(End())

    def discard(self) -> None:
        """Let go of all that waits: nobody reads it any more."""
        with self._lock:
            self._items.clear()
            self._waiting_bytes = self._shed_frames = 0
            self._is_ended = True

    def take(self) -> Item | None:
        """The next item, half a second of audio at most (or one message), or ``None``."""
        with self._lock:
            if self._shed_frames:
                shed, self._shed_frames = self._shed_frames, 0
                return Gap(shed, is_shed=True)
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, Audio):
                self._waiting_bytes -= len(item.data)
            return item

    @property
    def is_awaited(self) -> bool:
        """Whether the writer was told that there is no room, and there is again."""
        with self._lock:
            few_items = len(self._items) <= _MAX_ITEMS // 2
            few_bytes = self._waiting_bytes <= self._limit_bytes // 2
            return self._has_writer_waiting and few_items and few_bytes

    def resume(self) -> bool:
        """Whether a writer that waited may go on, which it then does."""
        if not self.is_awaited:
            return False
        self._has_writer_waiting = False
        return True

    def _has_room(self) -> bool:
        if self._waiting_bytes <= self._limit_bytes and len(self._items) <= _MAX_ITEMS:
            return True
        if self.is_real_time:
            self._shed()
            return True
        self._has_writer_waiting = True
        return False

    def _shed(self) -> None:
        keep_bytes, keep_items = self._limit_bytes // 2, _MAX_ITEMS // 2
        while self._items and not isinstance(self._items[0], End):
            if self._waiting_bytes <= keep_bytes and len(self._items) <= keep_items:
                break
            item = self._items.popleft()
            if isinstance(item, Audio):
                self._waiting_bytes -= len(item.data)
                self._shed_frames += len(item.data) // self.audio.bytes_per_frame
            elif isinstance(item, Gap):
                self._shed_frames += item.frames
