"""A session between two threads: fed on demand, its events numbered and written down."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsv.engine import Hop, Session
from streamsv.events import Event, ScoreUpdated
from streamsv.server.inbox import Audio, End, Gap, Inbox
from streamsv.server.texts import text_of

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """One event of one stream: its number, itself, and its JSON.

    ``read_at`` is when the packet was read that completed its hop, for a score.
    """

    seq: int
    event: Event
    text: str
    read_at: float | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON's fields."""
        found: dict[str, Any] = json.loads(self.text)
        return found


def said(seq: int, event: Event, read_at: float | None = None) -> Said:
    """``event`` as the ``seq``-th of its session."""
    return Said(seq, event, text_of(seq, event), read_at)


class Stream:
    """One session on a worker: feeds itself from its inbox whenever a hop is asked for.

    Parameters
    ----------
    session:
        The session. From :meth:`Worker.add` on, only the worker's thread touches it.
    inbox:
        Its audio.
    seq:
        The number of the last event that was given before.
    """

    def __init__(self, session: Session, inbox: Inbox, seq: int = 0) -> None:
        self.session = session
        self.inbox = inbox
        self.failure: Exception | None = None
        self.is_woken = False
        self.was_due = False
        self.audio_s = 0.0
        self.shed_s = 0.0
        self.gap_s = 0.0
        self.oldest_read_at: float | None = None
        self._read_at: float | None = None
        self._seq = seq
        self._said: list[Said] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be said."""
        return self.failure is not None or self.session.is_ended

    def next_hop(self) -> Hop | None:
        """The hop that is due; feeds what waits until there is one. Never raises."""
        if self.failure is not None:
            return None
        hop = None
        try:
            hop = self.session.next_hop()
            while hop is None and (item := self.inbox.take()) is not None:
                self._feed(item)
                hop = self.session.next_hop()
        except Exception as error:  # noqa: BLE001 - a stream fails alone, whatever it was
            self.failure = error
            hop = None
        self.was_due = hop is not None
        return hop

    def complete(self, hop: Hop, embedding: Floats, state: Any) -> list[Event]:
        """Take the network's answer. Never raises; what is said is kept for :meth:`take_said`."""
        try:
            self._say(self.session.complete(hop, embedding, state), self._read_at)
        except Exception as error:  # noqa: BLE001 - a stream fails alone, whatever it was
            self.failure = error
        return []

    def abandon(self, hop: Hop) -> None:
        """The network failed; the hop stays due."""
        self.session.abandon(hop)

    def take_said(self) -> list[Said]:
        """What was said since the last call."""
        found, self._said = self._said, []
        return found

    def _feed(self, item: Audio | Gap | End) -> None:
        if isinstance(item, Audio):
            self._read_at = item.read_at
            if self.oldest_read_at is None:
                self.oldest_read_at = item.read_at
            audio = self.session.audio
            self.audio_s += len(item.data) / (audio.bytes_per_frame * audio.sample_rate)
            self._say(self.session.feed(item.data))
        elif isinstance(item, Gap):
            gap_s = item.frames / self.session.audio.sample_rate
            self.gap_s += gap_s
            self.shed_s += gap_s if item.is_shed else 0.0
            self._say(self.session.gap(gap_s))
        else:
            self._say(self.session.close_input())

    def _say(self, events: Iterable[Event], read_at: float | None = None) -> None:
        for event in events:
            self._seq += 1
            is_score = isinstance(event, ScoreUpdated)
            self._said.append(said(self._seq, event, read_at if is_score else None))
