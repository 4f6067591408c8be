"""The options that several commands share, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamsv import config as configuration
from streamsv.voiceprints import VoiceprintStore, default_store_path

if TYPE_CHECKING:
    from streamsv.engine import Engine

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Engine configuration, YAML. Default: built in."),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="FILE", help="Store of voiceprints. Default: the one of this user."
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="One JSON object a line on stdout; an error is one on stderr."),
]
DebugOption = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error."),
]
"""Named ``_debug`` in a command's signature: :func:`streamsv.cli.main.main` acts on it."""

MicrophoneOption = Annotated[
    bool, typer.Option("--microphone", help="Record instead of reading a file.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="Microphone: index or part of a name, see `devices`."
    ),
]
SpeedOption = Annotated[
    float | None,
    typer.Option(
        "--speed",
        min=0.0,
        help="Times real time; 0 is as fast as possible. Default on a terminal: 5, or more so that "
        "a file takes at most 12 s; elsewhere 0.",
    ),
]
MaxSecondsOption = Annotated[
    float | None,
    typer.Option("--max-seconds", min=0.1, help="Stop the microphone after this long."),
]


def load_engine(config: Path | None) -> Engine:
    """The engine of ``--config``.

    It is imported here, because onnxruntime takes its time and ``--help`` should not wait for it.
    """
    from streamsv.engine import Engine, EngineConfig

    return Engine.load(
        EngineConfig() if config is None else configuration.load(EngineConfig, config)
    )


def open_store(store: Path | None, may_create: bool = False) -> VoiceprintStore:
    """The store of ``--store``; only a command that stores voiceprints ``may_create`` it."""
    path = default_store_path() if store is None else store
    return VoiceprintStore(path, must_exist=not may_create)
