"""Sound on its way to a server, kept until it has surely arrived.

Everything has a position on the source's time line, in samples of one channel; a gap takes as
many positions as it lasts. So one number, the server's ``received_samples``, says after a dropped
connection where to go on, and what is no longer kept from there is itself a gap. Only sound counts
as kept: a gap costs nothing to keep, however long it is, and pushes no sound out.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses

from streamsv.audio import AudioFormat
from streamsv.errors import ProtocolError

_LONGEST_GAP_S = 3600
"""Gaps are joined up to this length: a server takes none of a day."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """The source lost ``ms`` milliseconds, ``samples`` positions."""

    ms: float
    samples: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Piece:
    """Sound or a gap from ``start`` to ``end``."""

    start: int
    end: int
    content: bytes | Gap

    @property
    def sound(self) -> int:
        """Samples of sound, none in a gap."""
        return 0 if isinstance(self.content, Gap) else self.end - self.start


class Outbox:
    """The last ``kept_s`` seconds of sound of one stream in ``audio``, and how far it was sent.

    What the server is not known to have is kept for longer, but for a source that ``is_live``:
    such a one does not wait, and loses the oldest.

    Attributes
    ----------
    end:
        Position after the last whole sample that was put in.
    sent:
        Position up to which it was taken out by :meth:`take`.
    acknowledged:
        Position up to which the server is known to have it.
    """

    def __init__(self, audio: AudioFormat, kept_s: float, is_live: bool = False) -> None:
        self._audio = audio
        self._is_live = is_live
        self._frame = audio.bytes_per_frame
        self._most_kept = max(1, round(kept_s * audio.sample_rate))
        self._longest_gap = _LONGEST_GAP_S * audio.sample_rate
        self._pieces: collections.deque[_Piece] = collections.deque()
        self._kept = 0
        self._tail = b""
        self.end = 0
        self.sent = 0
        self.acknowledged = 0

    @property
    def waiting(self) -> int:
        """Samples that the server is not known to have."""
        return self.end - self.acknowledged

    @property
    def start(self) -> int:
        """Position of the first sample that is still kept."""
        return self._pieces[0].start if self._pieces else self.end

    def put(self, chunk: bytes) -> None:
        """Add any number of bytes; a sample that is cut in two waits for its rest."""
        data = self._tail + chunk
        whole = len(data) - len(data) % self._frame
        self._tail = data[whole:]
        if whole:
            self._add(whole // self._frame, data[:whole])

    def put_gap(self, ms: float) -> None:
        """The source lost ``ms`` milliseconds; half a sample before it is lost, too."""
        self._tail = b""
        samples = round(ms * self._audio.sample_rate / 1000)
        if samples <= 0:
            return
        gap = Gap(ms, samples)
        last = self._pieces[-1] if self._pieces else None
        if last is not None and isinstance(last.content, Gap):
            # Gaps are not counted as kept, so a source that is away must not heap them up.
            whole = last.content.samples + samples
            if whole <= self._longest_gap:
                self._pieces.pop()
                self.end = last.start
                gap = self._gap(whole)
        self._add(gap.samples, gap)

    def take(self, most_bytes: int) -> bytes | Gap | None:
        """The next stretch to send, ``None`` if there is nothing: bytes of whole samples, about
        ``most_bytes`` of them at most, or a gap, also for what is no longer kept.
        """
        if self.sent < self.start:
            missing = self.start - self.sent
            self.sent = self.start
            return self._gap(missing)
        piece = self._piece_at(self.sent)
        if piece is None:
            return None
        if isinstance(piece.content, Gap):
            rest = piece.end - self.sent
            self.sent = piece.end
            return piece.content if rest == piece.content.samples else self._gap(rest)
        first = (self.sent - piece.start) * self._frame
        most = max(1, most_bytes // self._frame) * self._frame
        data = piece.content[first : first + most]
        self.sent += len(data) // self._frame
        return data

    def acknowledge(self, position: int) -> None:
        """The server has everything up to ``position``; what is known already is passed over."""
        self.acknowledged = max(self.acknowledged, min(position, self.sent))

    def resume(self, received: int) -> None:
        """Go on from ``received``, which the server has. Raises ProtocolError beyond the end."""
        if received > self.end:
            raise ProtocolError(
                f"The server says that it has {received} samples of this stream, of which "
                f"{self.end} were sent. It resumed another session; start a new one.",
                received,
            )
        self.sent = received
        self.acknowledged = received

    def _gap(self, samples: int) -> Gap:
        return Gap(round(1000 * samples / self._audio.sample_rate, 3), samples)

    def _add(self, samples: int, content: bytes | Gap) -> None:
        piece = _Piece(self.end, self.end + samples, content)
        self._pieces.append(piece)
        self.end = piece.end
        self._kept += piece.sound
        while self._kept - self._pieces[0].sound >= self._most_kept:
            if self._pieces[0].end > self.acknowledged and not self._is_live:
                break  # who can wait loses nothing, and waits until the server has it
            self._kept -= self._pieces.popleft().sound

    def _piece_at(self, position: int) -> _Piece | None:
        if position >= self.end or not self._pieces:
            return None
        if self._pieces[-1].start <= position:
            return self._pieces[-1]
        index = bisect.bisect_right(self._pieces, position, key=lambda piece: piece.start) - 1
        return self._pieces[index]
