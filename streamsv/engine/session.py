"""What every session has in common: feed bytes, run hops somewhere, take events.

Sans-I/O: a session never runs the network. ``feed`` gives events and queues hops; ``next_hop``
hands out one with its state; ``complete`` takes the network's answer, or ``abandon`` takes the
hop back if there is none. ``push`` is these in a loop, for a lone session; a batching driver
makes the same calls for many.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import SupportsFloat

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFormat, Chunk
from streamsv.encoder import Encoder, State
from streamsv.engine.config import EngineConfig
from streamsv.engine.stream import HopStream, Mark, QueuedHop
from streamsv.errors import ModelLoadError, ProtocolError, SessionClosed
from streamsv.events import Event, SessionStarted

Floats = NDArray[np.float32]


@dataclasses.dataclass(slots=True, eq=False)
class Hop:
    """One step for the network: the ``number``-th of its session, from 0; ``pcm`` (1,
    hop_samples) float32 and the stream's ``state``. Not to be changed.
    """

    number: int
    pcm: Floats
    state: State


class Session(abc.ABC):
    """One stream of audio and what is said about it. Not for use from two threads at once."""

    # Slots: with hundreds of sessions in turn, what is seldom in the cache should lie together.
    __slots__ = (
        *("_config", "_embedding_shape", "_encoder", "_in_flight", "_is_ended"),
        *("_is_input_open", "_queue", "_state", "_stream"),
    )

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
        self._queue = self._stream.queue
        self._state = encoder.initial_state()
        self._embedding_shape = (encoder.dimension,)
        self._in_flight: tuple[Hop, QueuedHop] | None = None
        self._is_input_open = True
        self._is_ended = False
        hop_s = encoder.hop_samples / encoder.sample_rate
        self._queue.append(
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

    def feed(self, chunk: Chunk) -> list[Event]:
        """Take any number of bytes, cut anywhere; a sample may be cut in two.

        Returns the events that do not wait for a hop. Raises SessionClosed after the end, and
        UnsupportedAudio, with the session as it was, for bytes that are not audio and for what is
        not bytes: of an array, pass the bytes that it has in the declared format.
        """
        if not self._is_input_open:
            self._check_open()
        self._stream.feed(chunk)
        queue = self._queue
        return self._released() if queue and type(queue[0]) is not QueuedHop else []

    def gap(self, gap_s: SupportsFloat) -> list[Event]:
        """The source lost ``gap_s`` seconds. The evidence so far is kept.

        Raises SessionClosed after the end, and UnsupportedAudio, with the session as it was, for
        what is not seconds above 0 and below a day.
        """
        self._check_open()
        self._stream.gap(gap_s)
        return self._released()

    @property
    def is_due(self) -> bool:
        """Whether :meth:`next_hop` would hand out a hop."""
        queue = self._queue
        return bool(queue) and self._in_flight is None and type(queue[0]) is QueuedHop

    def next_hop(self) -> Hop | None:
        """The hop that is due, or ``None``; one at a time, until :meth:`complete` takes its answer
        or :meth:`abandon` takes it back.
        """
        queue = self._queue
        if not queue or self._in_flight is not None:
            return None
        due = queue[0]
        if type(due) is not QueuedHop:
            return None
        hop = Hop(due.number, due.pcm[None], self._state_for(due))
        self._in_flight = hop, due
        return hop

    def complete(self, hop: Hop, embedding: Floats, state: State) -> list[Event]:
        """Take the network's answer to ``hop``: embedding (dimension,) and the next state.

        Raises, with the session as it was, ProtocolError unless ``hop`` is the one handed out
        last and ``embedding`` is of that shape, and ModelLoadError unless it is finite.
        """
        if embedding.shape != self._embedding_shape:
            raise ProtocolError(
                f"complete() takes one embedding of shape ({self._encoder.dimension},), not "
                f"{embedding.shape}; pass the hop's row of a batch.",
                str(embedding.shape),
            )
        if not math.isfinite(embedding.dot(embedding)):
            raise ModelLoadError(
                "The network gave an embedding that is not finite. The model file is damaged; "
                "install streamsv again, or export the model again.",
                self._encoder.fingerprint,
            )
        answered = self._take_back(hop)
        queue = self._queue
        queue.popleft()
        events = self._answered(answered, embedding, state)
        if not (queue or self._is_input_open) or (queue and type(queue[0]) is not QueuedHop):
            events += self._released()
        return events

    def abandon(self, hop: Hop) -> None:
        """The network failed on ``hop``: :meth:`next_hop` hands it out again, as it was.

        A later answer to this handing out is refused. Raises ProtocolError unless ``hop`` is the
        one handed out last.
        """
        self._take_back(hop)

    def close_input(self) -> list[Event]:
        """No more audio comes. What is left is given as the remaining hops complete."""
        self._check_open()
        self._stream.finish()
        self._is_input_open = False
        return self._released()

    def push(self, chunk: Chunk) -> list[Event]:
        """``feed`` and run every hop that is due, here and now.

        Raises what ``feed`` raises, and ProtocolError while a hop is handed out. An error of the
        network is passed on; the audio is taken by then, and its hop stays due.
        """
        self._check_nothing_in_flight()
        return [*self.feed(chunk), *self._run()]

    def finish(self) -> list[Event]:
        """``close_input`` and run what is left; the last event is ``session_ended``.

        Raises SessionClosed after the end, and ProtocolError while a hop is handed out.
        """
        self._check_nothing_in_flight()
        return [*self.close_input(), *self._run()]

    def _run(self) -> list[Event]:
        events: list[Event] = []
        while (hop := self.next_hop()) is not None:
            try:
                embedding, state = self._encoder.step(hop.pcm, hop.state)
            except BaseException:
                self.abandon(hop)
                raise
            events += self.complete(hop, embedding[0], state)
        return events

    def _take_back(self, hop: Hop) -> QueuedHop:
        if self._in_flight is None or self._in_flight[0] is not hop:
            raise ProtocolError(
                "This is not the hop that next_hop() of this session handed out last; answer or "
                "abandon each hop once, before the next.",
                hop.number,
            )
        due, self._in_flight = self._in_flight[1], None
        return due

    def _check_nothing_in_flight(self) -> None:
        if self._in_flight is not None:
            raise ProtocolError(
                "A hop is handed out; complete() or abandon() it before push() or finish().",
                self._in_flight[0].number,
            )

    def _check_open(self) -> None:
        if not self._is_input_open:
            raise SessionClosed("This session has ended. Start another for more audio.")

    def _released(self) -> list[Event]:
        """Everything at the head of the queue that does not wait for a hop, and the end."""
        queue = self._queue
        events: list[Event] = []
        while queue and not isinstance(item := queue[0], QueuedHop):
            queue.popleft()
            events += [item] if isinstance(item, Event) else self._passed(item)
        if not queue and not self._is_input_open and not self._is_ended:
            self._is_ended = True
            events += self._ending()
        return events

    def _state_for(self, due: QueuedHop) -> State:  # noqa: ARG002
        """The state that the network hears a hop with."""
        return self._state

    def _answered(self, hop: QueuedHop, embedding: Floats, state: State) -> list[Event]:
        """Go on from the network's next state, and tell what the hop gives rise to."""
        self._state = state
        return self._scored(hop, embedding)

    def _passed(self, mark: Mark) -> list[Event]:  # noqa: ARG002
        """What the end of a stretch or of a recording gives rise to: nothing, unless asked for."""
        return []

    @abc.abstractmethod
    def _scored(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        """What a completed hop gives rise to."""

    @abc.abstractmethod
    def _ending(self) -> list[Event]:
        """The last events, ``session_ended`` among them."""
