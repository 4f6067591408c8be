"""What every session has in common: feed bytes, run hops somewhere, take events.

Sans-I/O: a session never runs the network. ``feed`` gives events and queues hops; ``next_hop``
hands out one with its state; ``complete`` takes the network's answer. ``push`` is these three in
a loop, for a lone session; a batching driver makes the same calls for many.
"""

from __future__ import annotations

import abc
import dataclasses

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFormat
from streamsv.encoder import Encoder, State
from streamsv.engine.config import EngineConfig
from streamsv.engine.stream import HopStream, Mark, QueuedHop
from streamsv.errors import ProtocolError, SessionClosed
from streamsv.events import Event, SessionStarted

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """One step for the network: the ``number``-th of its session, from 0; ``pcm`` (1,
    hop_samples) float32 and the stream's ``state``."""

    number: int
    pcm: Floats
    state: State


class Session(abc.ABC):
    """One stream of audio and what is said about it. Not for use from two threads at once."""

    def __init__(
        self,
        encoder: Encoder,
        config: EngineConfig,
        audio: AudioFormat,
        mode: str,
        speakers: tuple[str, ...],
        stretch_s: float = 0.0,
    ) -> None:
        self._encoder = encoder
        self._config = config
        self._stream = HopStream(
            audio, config.gate, encoder.hop_samples, round(stretch_s * SAMPLE_RATE)
        )
        self._state = encoder.initial_state()
        self._in_flight: QueuedHop | None = None
        self._is_input_open = True
        self._is_ended = False
        hop_s = encoder.hop_samples / encoder.sample_rate
        self._stream.queue.append(
            SessionStarted(
                0.0,
                mode,
                speakers,
                audio.encoding,
                audio.sample_rate,
                audio.channels,
                audio.channel,
                hop_s,
                hop_s * config.update_every_hops,
            )
        )

    @property
    def audio(self) -> AudioFormat:
        """The format of the bytes that this session takes."""
        return self._stream.audio

    @property
    def is_ended(self) -> bool:
        """Whether ``session_ended`` has been given."""
        return self._is_ended

    def feed(self, chunk: bytes) -> list[Event]:
        """Take any number of bytes, cut anywhere; a sample may be cut in two.

        Returns the events that do not wait for a hop. Raises SessionClosed after the end, and
        UnsupportedAudio, with the session as it was, for bytes that are not audio.
        """
        self._check_open()
        self._stream.feed(chunk)
        return self._released()

    def gap(self, gap_s: float) -> list[Event]:
        """The source lost ``gap_s`` seconds. The evidence so far is kept."""
        self._check_open()
        self._stream.gap(gap_s)
        return self._released()

    def next_hop(self) -> Hop | None:
        """The hop that is due, or ``None``. Its answer goes to :meth:`complete` before the next."""
        queue = self._stream.queue
        if self._in_flight is not None or not queue or not isinstance(queue[0], QueuedHop):
            return None
        self._in_flight = queue[0]
        return Hop(self._in_flight.number, self._in_flight.pcm[None], self._state)

    def complete(self, hop: Hop, embedding: Floats, state: State) -> list[Event]:
        """Take the network's answer to ``hop``: embedding (dimension,) and the next state."""
        if self._in_flight is None or hop.number != self._in_flight.number:
            raise ProtocolError("complete() takes the hop that next_hop() handed out last.")
        answered, self._in_flight = self._in_flight, None
        self._stream.queue.popleft()
        self._state = state
        return [*self._scored(answered, embedding), *self._released()]

    def close_input(self) -> list[Event]:
        """No more audio comes. What is left is given as the remaining hops complete."""
        self._check_open()
        self._stream.finish()
        self._is_input_open = False
        return self._released()

    def push(self, chunk: bytes) -> list[Event]:
        """``feed`` and run every hop that is due, here and now."""
        return [*self.feed(chunk), *self._run()]

    def finish(self) -> list[Event]:
        """``close_input`` and run what is left; the last event is ``session_ended``."""
        return [*self.close_input(), *self._run()]

    def _run(self) -> list[Event]:
        events: list[Event] = []
        while (hop := self.next_hop()) is not None:
            embedding, state = self._encoder.step(hop.pcm, hop.state)
            events += self.complete(hop, embedding[0], state)
        return events

    def _check_open(self) -> None:
        if not self._is_input_open:
            raise SessionClosed("This session has ended. Start another for more audio.")

    def _released(self) -> list[Event]:
        """Everything at the head of the queue that does not wait for a hop, and the end."""
        queue = self._stream.queue
        events: list[Event] = []
        while queue and not isinstance(queue[0], QueuedHop):
            item = queue.popleft()
            events += [item] if isinstance(item, Event) else self._passed(item)
        if not queue and not self._is_input_open and not self._is_ended:
            self._is_ended = True
            events += self._ending()
        return events

    def _passed(self, mark: Mark) -> list[Event]:
        """What the end of a stretch or of a recording gives rise to: nothing, unless asked for."""
        return []

    @abc.abstractmethod
    def _scored(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        """What a completed hop gives rise to."""

    @abc.abstractmethod
    def _ending(self) -> list[Event]:
        """The last events, ``session_ended`` among them."""
