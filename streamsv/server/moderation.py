"""The event loop leaves the engine's threads alone while they are in a round.

Python runs one thread at a time. Two hundred calls bring ten thousand packets a second; if the loop
takes each as it comes, it and an engine thread hand Python to and fro thousands of times a second,
which costs a quarter of what they do. So from a number of calls on the loop rests during a round,
as a network card does between its interrupts, and takes what came meanwhile at one go when the
round has ended: then there are scores to send, and the thread mostly rests itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol

_LONGEST_REST_S = 0.05
_LOOK_S = 0.5
_LOOK_BETWEEN_ROUNDS_S = 0.002


class Rounds(Protocol):
    """What says how long the loop may rest: :class:`~streamsv.server.worker.Workers`."""

    @property
    def round_s(self) -> float:
        """How far apart rounds begin now, in seconds: 0 with few streams."""

    @property
    def is_busy(self) -> bool:
        """Whether a round is on."""

    def on_round(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, on whatever thread, when a round has ended."""


class Moderator:
    """Makes ``loop`` rest, from :meth:`start` to :meth:`stop`. On the loop.

    It rests until the round that is on has ended, at most for as long as rounds are apart, and no
    longer than ``longest_s``, since pings and requests wait meanwhile. Between rounds it runs
    freely, so that a request, which takes several turns of the loop, is not held up at each. With
    few streams, where rounds follow each other at once, it does nothing.

    Parameters
    ----------
    loop:
        The event loop.
    rounds:
        The engine's threads.
    longest_s:
        How long a rest may be, in seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rounds: Rounds,
        longest_s: float = _LONGEST_REST_S,
    ) -> None:
        self._loop = loop
        self._rounds = rounds
        self._longest_s = longest_s
        self._round_ended = threading.Event()
        self._next: asyncio.Handle | None = None

    def start(self) -> None:
        """Begin."""
        self._rounds.on_round(self._round_ended.set)
        self._turn()

    def stop(self) -> None:
        """Rest no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _turn(self) -> None:
        rest_s = min(self._rounds.round_s, self._longest_s)
        if rest_s <= 0:
            self._next = self._loop.call_later(_LOOK_S, self._turn)
            return
        self._round_ended.clear()
        if self._rounds.is_busy:
            self._round_ended.wait(rest_s)
        self._next = self._loop.call_later(_LOOK_BETWEEN_ROUNDS_S, self._turn)
