"""Sound as it comes in, down to the speech in it: the first two rooms of the corridor.

Bytes are decoded (``formats``), brought to 16 kHz (``resample``) and gated (``gate``, ``level``);
sound files (``files``) and sound cards (``microphone``) are two places where bytes come from.

A name is loaded from its module when it is first used, so importing this package brings in
numpy and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from streamsv.audio.formats import (
    SAMPLE_RATE,
    AudioFormat,
    Chunk,
    Decoder,
    Encoding,
    encode_alaw,
    encode_mulaw,
    encode_s16le,
)

if TYPE_CHECKING:
    from streamsv.audio.config import GateConfig
    from streamsv.audio.files import AudioFile, read_blocks
    from streamsv.audio.gate import Offset, Onset, Speech, SpeechGate
    from streamsv.audio.level import LevelMeter, Levels
    from streamsv.audio.microphone import Device, Lost, Microphone, list_devices
    from streamsv.audio.resample import Resampler

__all__ = [
    "SAMPLE_RATE",
    "AudioFile",
    "AudioFormat",
    "Chunk",
    "Decoder",
    "Device",
    "Encoding",
    "GateConfig",
    "LevelMeter",
    "Levels",
    "Lost",
    "Microphone",
    "Offset",
    "Onset",
    "Resampler",
    "Speech",
    "SpeechGate",
    "encode_alaw",
    "encode_mulaw",
    "encode_s16le",
    "list_devices",
    "read_blocks",
]

_MODULE_OF = {
    "AudioFile": "files",
    "read_blocks": "files",
    "GateConfig": "config",
    "Offset": "gate",
    "Onset": "gate",
    "Speech": "gate",
    "SpeechGate": "gate",
    "LevelMeter": "level",
    "Levels": "level",
    "Device": "microphone",
    "Lost": "microphone",
    "Microphone": "microphone",
    "list_devices": "microphone",
    "Resampler": "resample",
}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
