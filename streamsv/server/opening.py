"""From a ``start`` to a session, and from a finished enrollment to the store: all that reads or
writes voiceprints. Everything here blocks and runs beside the event loop.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from streamsv.engine import Engine, EnrollmentSession, Session
from streamsv.errors import ProtocolError, UnknownSpeaker, VoiceprintExists
from streamsv.scoring.policy import ThresholdPolicy
from streamsv.server.config import ServeConfig
from streamsv.server.messages import Start
from streamsv.voiceprints import Voiceprint, VoiceprintStore


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A session that is ready, and what it works by, as ``session_started`` tells it."""

    session: Session
    terms: dict[str, Any]


class Opener:
    """Makes sessions from the voiceprints of ``store``.

    Parameters
    ----------
    engine:
        The engine.
    store:
        The voiceprints.
    config:
        How many may be claimed or compared, and whether enrolling needs consent.
    """

    def __init__(self, engine: Engine, store: VoiceprintStore, config: ServeConfig) -> None:
        self._engine = engine
        self._store = store
        self._config = config

    def open(self, start: Start) -> Opened:
        """The session that ``start`` asks for.

        Raises UnknownSpeaker, VoiceprintExists, ModelMismatch, ProtocolError or StoreError.
        """
        if start.mode == "enroll":
            return self._enrollment(start)
        voiceprints = self._claimed(start)
        if start.mode == "verify":
            session = self._engine.verify(voiceprints, start.audio)
            policy = ThresholdPolicy(self._engine.config.decision)
        else:
            session = self._engine.identify(voiceprints, start.audio)
            policy = ThresholdPolicy(self._engine.config.decision, len(voiceprints))
        decision = {
            "accept_llr": policy.accept_llr,
            "reject_llr": policy.reject_llr,
            "min_net_speech_s": self._engine.config.decision.min_net_speech_s,
        }
        return Opened(session, {"decision": decision})

    def is_enrolled(self, speaker: str) -> bool:
        """Whether there is a voiceprint of ``speaker``."""
        try:
            self._store.get(speaker)
        except UnknownSpeaker:
            return False
        return True

    def voiceprint(self, session: EnrollmentSession, start: Start) -> Voiceprint:
        """The voiceprint of a finished enrollment, dated now, with the consent of its start."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return session.voiceprint(now.replace("+00:00", "Z"), start.consent)

    def _claimed(self, start: Start) -> list[Voiceprint]:
        if start.speakers:
            return [self._store.get(speaker) for speaker in start.speakers]
        summaries = self._store.list()
        limit = self._config.media.max_candidates
        if len(summaries) > limit:
            raise ProtocolError(
                f"speakers: the store holds {len(summaries)} voiceprints, and at most {limit} are "
                "compared with. Name the candidates.",
                len(summaries),
            )
        return self._store.all(self._engine.fingerprint)

    def _enrollment(self, start: Start) -> Opened:
        (speaker,) = start.speakers
        if self._config.require_consent and start.consent is None:
            raise ProtocolError(
                "consent: this server enrolls nobody without it; send given_at, by and purpose.",
                None,
            )
        if not start.may_replace and self.is_enrolled(speaker):
            raise VoiceprintExists(
                f"There is a voiceprint of {speaker!r} already. Send replace, delete it first, or "
                "choose another speaker id.",
                speaker,
            )
        needs = self._engine.config.enrollment
        terms = {
            "wanted_net_speech_s": needs.wanted_net_speech_s,
            "min_net_speech_s": needs.min_net_speech_s,
        }
        return Opened(self._engine.enroll(speaker, start.audio), {"enrollment": terms})
