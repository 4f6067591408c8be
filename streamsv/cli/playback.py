"""Sound through a session, and what it says onto a screen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from streamsv.audio import Lost
from streamsv.cli.screens import Listener, Screen
from streamsv.cli.sounds import Sound
from streamsv.errors import StreamsvError
from streamsv.events import Event

if TYPE_CHECKING:
    from streamsv.engine import Session

_LONGEST_SLEEP_S = 0.05
_SLOWEST_SPEED = 5.0
_LONGEST_SHOW_S = 12.0


def speed_of(sound: Sound, screen: Screen, wanted: float | None) -> float:
    """Times real time: the one ``wanted``, or one at which a file can be watched, and not for long.

    0, as fast as possible, where nobody watches; a microphone keeps its own time.
    """
    if sound.duration_s is None or (wanted is None and not screen.is_live):
        return 0.0
    return max(_SLOWEST_SPEED, sound.duration_s / _LONGEST_SHOW_S) if wanted is None else wanted


class Interrupted(KeyboardInterrupt):
    """Ctrl-C between two blocks: the session is sound, and its result so far can be taken."""


class InterruptWatch:
    """Inside its ``with`` statement the first Ctrl-C is only noted; the second one is at once.

    Waiting for the gap between two blocks keeps the session whole, so that it can still say what
    it has found.
    """

    def __init__(self) -> None:
        self._is_interrupted = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def check(self) -> None:
        """Raise Interrupted if Ctrl-C was pressed."""
        if self._is_interrupted:
            raise Interrupted

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True


class Pace:
    """Holds a file to ``speed`` times real time; 0 does not hold it."""

    def __init__(self, speed: float, watch: InterruptWatch) -> None:
        self._speed = speed
        self._watch = watch
        self._began = time.monotonic()

    def wait_until(self, at_s: float) -> None:
        """Return when the media time ``at_s`` has come, or Ctrl-C was pressed."""
        self._watch.check()
        if not self._speed:
            return
        due = self._began + at_s / self._speed
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _LONGEST_SLEEP_S))
            self._watch.check()


class Player:
    """Plays pieces of sound into one session and shows what it says.

    Use it in a ``with`` statement: however the sound ends (at its end, by an error of its source,
    by Ctrl-C), the session is finished and its result is shown before anything is raised; without
    ``shows_partial_result`` only if the sound came to its end.
    """

    def __init__(
        self,
        session: Session,
        screen: Listener,
        speed: float = 0.0,
        shows_partial_result: bool = True,
    ) -> None:
        self._session = session
        self._screen = screen
        self._watch = InterruptWatch()
        self._pace = Pace(speed, self._watch)
        self._shows_partial_result = shows_partial_result
        self._at_s = 0.0

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            is_orderly = isinstance(error, StreamsvError | Interrupted)
            if error is None or (is_orderly and self._shows_partial_result):
                self._screen.show(self._session.finish(), self._at_s)
        finally:
            self._watch.__exit__(kind, error, trace)

    def play(self, sound: Sound, is_enough: Callable[[Event], bool] | None = None) -> None:
        """Play ``sound``, in the session's format, until it ends or an event ``is_enough``.

        Raises Interrupted, and what the source of the sound raises.
        """
        for piece in sound.pieces:
            if isinstance(piece, Lost):
                events = self._session.gap(piece.seconds)
                self._at_s += piece.seconds
            else:
                events = self._session.push(piece.astype("<f4").tobytes())
                self._at_s += len(piece) / sound.format.sample_rate
            self._screen.show(events, self._at_s)
            if is_enough is not None and any(map(is_enough, events)):
                return
            self._pace.wait_until(self._at_s)
