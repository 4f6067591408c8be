"""From a ``start`` to a session, and from a finished enrollment to the store: all that reads or
writes voiceprints. Everything here blocks and runs beside the event loop.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import math
from typing import Any

from streamsv.engine import Engine, EnrollmentSession, Session, VerificationSession
from streamsv.errors import ModelMismatch, ProtocolError, UnknownSpeaker, VoiceprintExists
from streamsv.server.config import ServeConfig
from streamsv.server.messages import Start
from streamsv.voiceprints import Voiceprint, VoiceprintStore

log = logging.getLogger("streamsv.server")


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
        voiceprints, left_out = self._claimed(start)
        open_session = self._engine.verify if start.mode == "verify" else self._engine.identify
        session = open_session(voiceprints, start.audio)
        terms: dict[str, Any] = {"decision": self._rule(session)}
        if left_out:
            terms["left_out"] = left_out
        return Opened(session, terms)

    def _rule(self, session: VerificationSession) -> dict[str, Any]:
        """The LLRs that decide at the first look, and each change of them after it."""
        policy = session.policy
        hop_s = self._engine.encoder.hop_samples / self._engine.encoder.sample_rate
        first_s = policy.first_look_s
        accept_llr, reject_llr = policy.thresholds(first_s)
        steps = [[first_s, accept_llr, reject_llr]]
        last = math.ceil(self._engine.config.decision.max_net_speech_s / hop_s)
        for hop in range(math.ceil(first_s / hop_s) + 1, last):
            now = policy.thresholds(hop * hop_s)
            if now != (steps[-1][1], steps[-1][2]):
                steps.append([round(hop * hop_s, 3), *now])
        return {
            "accept_llr": accept_llr,
            "reject_llr": reject_llr,
            "min_net_speech_s": first_s,
            "steps": steps,
        }

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

    def _claimed(self, start: Start) -> tuple[list[Voiceprint], int]:
        """Who is compared with, and how many others are of another model."""
        if start.speakers:
            return [self._store.get(speaker) for speaker in start.speakers], 0
        count = self._store.count()
        limit = self._config.media.max_candidates
        if count > limit:
            raise ProtocolError(
                f"speakers: the store holds {count} voiceprints, and at most {limit} are compared "
                "with. Name the candidates.",
                count,
            )
        voiceprints = self._store.all(self._engine.fingerprint)
        left_out = max(0, count - len(voiceprints))
        if left_out:
            log.warning("%d voiceprints are of another model and were left out.", left_out)
        if left_out and not voiceprints:
            raise ModelMismatch(
                f"All {left_out} voiceprints of this server are of another model than it runs. "
                "Enroll these speakers again, or start it with that model.",
                left_out,
            )
        return voiceprints, left_out

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
