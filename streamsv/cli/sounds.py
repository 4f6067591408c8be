"""Where sound comes from: a file, or a microphone for as long as it may."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from streamsv.audio import AudioFile, AudioFormat, Lost, Microphone

Piece = NDArray[np.float32] | Lost
"""A block of mono samples, float32, shape (samples,), in [-1, 1]; or word of a loss."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sound:
    """Pieces of sound in ``format``; ``duration_s`` is ``None`` for a microphone."""

    name: str
    format: AudioFormat
    duration_s: float | None
    pieces: Iterable[Piece]


@contextlib.contextmanager
def opened(file: Path | None, device: str | None, max_seconds: float | None) -> Iterator[Sound]:
    """The sound of ``file``, or without one that of the microphone ``device``."""
    if file is None:
        with from_microphone(device, max_seconds) as sound:
            yield sound
    else:
        with from_file(file) as sound:
            yield sound


@contextlib.contextmanager
def from_file(path: Path) -> Iterator[Sound]:
    """The sound of a file. Raises UnsupportedAudio."""
    with AudioFile(path) as file:
        yield Sound(path.name, file.format, file.seconds, file)


@contextlib.contextmanager
def from_microphone(device: str | None, max_seconds: float | None) -> Iterator[Sound]:
    """What a microphone records in the meantime. Raises AudioDeviceError."""
    chosen = int(device) if device is not None and device.isdecimal() else device
    with Microphone(chosen) as microphone:
        pieces = _limited(microphone, microphone.format.sample_rate, max_seconds)
        yield Sound(microphone.device.name, microphone.format, None, pieces)


def check_one_source(has_files: bool, is_microphone: bool) -> None:
    """Raise a usage error unless a command is given files or --microphone, not both."""
    if has_files == is_microphone:
        raise typer.BadParameter("Give either a FILE or --microphone.")


def _limited(
    pieces: Iterable[Piece], sample_rate: int, max_seconds: float | None
) -> Iterator[Piece]:
    seconds = 0.0
    for piece in pieces:
        yield piece
        seconds += piece.seconds if isinstance(piece, Lost) else len(piece) / sample_rate
        if max_seconds is not None and seconds >= max_seconds:
            return
