"""Audio in what a peer sends, found without the whole parser of WebSocket frames.

Nearly everything that comes is audio, each packet in one small binary frame. Such frames are taken
out here. Whatever else comes, control, text, fragments, large frames and what is against the
protocol, goes to the parser untouched, whole frame by whole frame, so that the two never disagree
about where a frame begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

try:
    from websockets.speedups import apply_mask
except ImportError:  # where websockets was installed without its C extension
    from websockets.utils import apply_mask

_MOST_BYTES = 16_384  # a larger frame comes in pieces, which the parser gathers better
_FINAL_BINARY = 0x82
_FINAL = 0x80
_MASKED = 0x80
_LENGTH = 0x7F
_OPCODE = 0x0F
_FIRST_CONTROL = 0x8


class FrameSplitter:
    """Follows the frames of one connection from the first one on.

    Parameters
    ----------
    max_bytes:
        The largest message that is allowed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = min(max_bytes, _MOST_BYTES)
        self._held = b""
        self._parsers_bytes = 0.0
        self._is_fragmented = False

    def split(self, data: bytes, takes_audio: bool) -> Iterator[tuple[bytes, bool]]:
        """What ``data`` brings, in order: audio, unmasked, with ``True``, and bytes for the parser
        with ``False``. Without ``takes_audio`` everything is for the parser.
        """
        if self._held:
            data, self._held = self._held + data, b""
        at, size = 0, len(data)
        if self._parsers_bytes:
            at = int(min(self._parsers_bytes, size))
            self._parsers_bytes -= at
            yield data[:at], False
        while size - at >= 2:
            first, second = data[at], data[at + 1]
            length, start = second & _LENGTH, at + 6
            if length > 125:
                start += 2 if length == 126 else 8
                if start > size:
                    break
                length = int.from_bytes(data[at + 2 : start - 4])
            end = start + length
            if not second & _MASKED:
                # Against the protocol, and the parser says so: nothing after it is a frame.
                self._parsers_bytes = math.inf
                yield data[at:], False
                return
            if (
                first == _FINAL_BINARY
                and takes_audio
                and length <= self._max_bytes
                and not self._is_fragmented
            ):
                if end > size:
                    break
                yield apply_mask(data[start:end], data[start - 4 : start]), True
            else:
                if first & _OPCODE < _FIRST_CONTROL:
                    self._is_fragmented = not first & _FINAL
                self._parsers_bytes = max(0, end - size)
                yield data[at:end], False
            at = end
        if at < size:
            self._held = data[at:]
