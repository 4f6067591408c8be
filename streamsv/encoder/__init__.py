"""The network at run time, by onnxruntime: no torch, no knowledge of layers.

:class:`Encoder` reads the graph's named inputs and its metadata, allocates state, and steps.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamsv.encoder.batching import Batcher, Stepped
    from streamsv.encoder.encoder import Encoder, State
    from streamsv.encoder.slots import SlotState

_HOMES = {
    "Batcher": "batching",
    "Encoder": "encoder",
    "SlotState": "slots",
    "State": "encoder",
    "Stepped": "batching",
}

__all__ = ["Batcher", "Encoder", "SlotState", "State", "Stepped"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"streamsv.encoder.{_HOMES[name]}"), name)
