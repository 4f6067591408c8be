"""A session that judges nothing: it keeps what the network made of each hop."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import AudioFormat
from streamsv.encoder import Encoder
from streamsv.engine.config import EngineConfig
from streamsv.engine.session import Session
from streamsv.engine.stream import QueuedHop
from streamsv.events import Event, SessionEnded


class HearingSession(Session):
    """Gated and cut into hops as any session, with no event but those of the gate and the end.

    Attributes
    ----------
    embeddings:
        Of everything up to each hop: float32 (dimension,), unit length.
    snr_db:
        At the end of each hop; nan while it is not known.
    """

    __slots__ = ("embeddings", "snr_db")

    def __init__(self, encoder: Encoder, config: EngineConfig, audio: AudioFormat) -> None:
        super().__init__(encoder, config, audio, "enroll", ())
        self.embeddings: list[NDArray[np.float32]] = []
        self.snr_db: list[float] = []

    def _scored(self, hop: QueuedHop, embedding: NDArray[np.float32]) -> list[Event]:
        self.embeddings.append(embedding.copy())
        snr_db = hop.levels.snr_db
        self.snr_db.append(math.nan if snr_db is None else snr_db)
        return []

    def _ending(self) -> list[Event]:
        return [SessionEnded(self._stream.at_s, self._stream.net_speech_s)]
