"""Where events are shown: as JSON lines, as lines for a log, or in a picture redrawn in place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from rich.live import Live

from streamsv.cli import terminal
from streamsv.cli.plain import PlainLines
from streamsv.cli.render import EnrollmentPicture, VerificationPicture
from streamsv.events import Event

Picture = VerificationPicture | EnrollmentPicture

_REDRAWS_PER_S = 15.0


class Listener(Protocol):
    """Whoever hears what a session says."""

    def show(self, events: Iterable[Event], at_s: float | None = None) -> None:
        """Take ``events``; the sound has come to the media time ``at_s``."""


class Screen(Listener, Protocol):
    """Shows the events of one session; used in a ``with`` statement, which ends its picture."""

    is_live: bool

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what was shown last."""


class _Still:
    """A screen that has nothing to begin or to end."""

    is_live = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class JsonScreen(_Still):
    """One event a line, each written at once."""

    def show(self, events: Iterable[Event], at_s: float | None = None) -> None:
        """Write the events; silence says nothing."""
        del at_s
        for event in events:
            terminal.write_json(event.to_dict())


class PlainScreen(_Still):
    """Lines that stand alone, for a log, a pipe or a dumb terminal."""

    def __init__(self, title: str) -> None:
        self._lines = PlainLines(title)
        self._terminal = terminal.output()

    def show(self, events: Iterable[Event], at_s: float | None = None) -> None:
        """Print what is worth a line."""
        del at_s
        for event in events:
            for line in self._lines.of(event):
                self._terminal.say(line)


class LiveScreen:
    """A picture that is redrawn in place, at most so many times a second."""

    is_live = True

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._live = Live(
            picture,
            console=terminal.output(),
            auto_refresh=False,
            vertical_overflow="crop",
        )
        self._quiet = contextlib.ExitStack()
        self._redraw_at = 0.0

    def __enter__(self) -> Self:
        self._quiet.enter_context(terminal.without_echo())
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._quiet:
            self._live.refresh()
            self._live.stop()

    def show(self, events: Iterable[Event], at_s: float | None = None) -> None:
        """Add the events to the picture, and redraw it when that is due."""
        for event in events:
            self._picture.take(event)
        if at_s is not None:
            self._picture.pass_time(at_s)
        now = time.monotonic()
        if now >= self._redraw_at:
            self._redraw_at = now + 1.0 / _REDRAWS_PER_S
            self._live.refresh()


def screen_for(picture: Picture, title: str, as_json: bool) -> Screen:
    """The screen that suits the place where standard output goes."""
    if as_json:
        return JsonScreen()
    return LiveScreen(picture) if terminal.output().is_live else PlainScreen(title)
