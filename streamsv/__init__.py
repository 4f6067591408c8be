"""Is this the voice that was enrolled? An answer while the person is still speaking.

The public names are loaded when they are first used, so that ``import streamsv`` stays quick::

    import streamsv

    engine = streamsv.Engine.load()
    enrollment = engine.enroll("alice", streamsv.AudioFormat("s16le", 16000))
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# From 1.29 on, onnxruntime reports its use to its maker unless this is set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from streamsv.audio import AudioFile, AudioFormat, Microphone
    from streamsv.engine import Engine, EngineConfig, EnrollmentSession, VerificationSession
    from streamsv.errors import StreamsvError
    from streamsv.events import Verdict
    from streamsv.voiceprints import Consent, Voiceprint, VoiceprintStore

_ROOM_OF = {
    "AudioFile": "audio",
    "AudioFormat": "audio",
    "Consent": "voiceprints",
    "Engine": "engine",
    "EngineConfig": "engine",
    "EnrollmentSession": "engine",
    "Microphone": "audio",
    "StreamsvError": "errors",
    "Verdict": "events",
    "VerificationSession": "engine",
    "Voiceprint": "voiceprints",
    "VoiceprintStore": "voiceprints",
}

__all__ = [
    "AudioFile",
    "AudioFormat",
    "Consent",
    "Engine",
    "EngineConfig",
    "EnrollmentSession",
    "Microphone",
    "StreamsvError",
    "Verdict",
    "VerificationSession",
    "Voiceprint",
    "VoiceprintStore",
    "__version__",
]


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'streamsv' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"streamsv.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
