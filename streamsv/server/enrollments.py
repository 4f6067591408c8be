"""A finished enrollment goes into the store, and into the audit log before and after."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime

from streamsv.errors import StoreError, StreamsvError, UnknownSpeaker
from streamsv.server.audit import AuditLog
from streamsv.voiceprints import Voiceprint, VoiceprintStore

log = logging.getLogger("streamsv.server")


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who enrolls: the id of the key, the address, and the session if there is one."""

    key_id: str
    peer: str
    session_id: str | None = None


def store_voiceprint(
    store: VoiceprintStore, audit: AuditLog, voiceprint: Voiceprint, replace: bool, *, by: Caller
) -> Voiceprint:
    """Store ``voiceprint``, in place of the speaker's present one if ``replace``; what was stored.

    A replaced voiceprint's date of creation is kept, and its consent where none is given anew.
    Blocks. Raises VoiceprintExists or StoreError; what cannot be audited is not stored.
    """

    def record(outcome: str) -> None:
        audit.record(
            "enroll",
            key_id=by.key_id,
            peer=by.peer,
            speaker=voiceprint.speaker,
            session_id=by.session_id,
            outcome=outcome,
        )

    record("requested")
    try:
        if replace:
            voiceprint = _following(store, voiceprint)
            store.replace(voiceprint)
        else:
            store.add(voiceprint)
    except StreamsvError as error:
        record(error.code)
        raise
    try:
        record("stored")
    except StoreError as error:  # it is stored all the same, and `requested` says that it may be
        log.error("A voiceprint was stored, which could not be audited: %s", error.message)
    return voiceprint


def _following(store: VoiceprintStore, voiceprint: Voiceprint) -> Voiceprint:
    try:
        before = store.get(voiceprint.speaker)
    except UnknownSpeaker:
        return voiceprint
    return dataclasses.replace(
        voiceprint,
        # A clock that was ahead then must not cost the recording that was just made.
        created_at=min(before.created_at, voiceprint.created_at, key=datetime.fromisoformat),
        consent=voiceprint.consent or before.consent,
    )
