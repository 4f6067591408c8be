"""Voiceprints: what an enrollment leaves behind, as a value, as a file and in a store.

A :class:`Voiceprint` is one speaker's unit-length embedding with what is known about it. A
:class:`VoiceprintStore` keeps many of them in one SQLite file, writes each of them whole or not at
all, and erases what it deletes.
"""

from streamsv.voiceprints.location import default_store_path
from streamsv.voiceprints.store import VoiceprintStore
from streamsv.voiceprints.voiceprint import (
    CHANNELS,
    Consent,
    Voiceprint,
    VoiceprintSummary,
    check_speaker,
)

__all__ = [
    "CHANNELS",
    "Consent",
    "Voiceprint",
    "VoiceprintStore",
    "VoiceprintSummary",
    "check_speaker",
    "default_store_path",
]
