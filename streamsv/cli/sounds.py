"""Where sound comes from: a file, or a microphone for as long as it may."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import AudioFile, AudioFormat, Lost, Microphone
from streamsv.cli.exits import UsageError
from streamsv.errors import UnsupportedAudio

Piece = NDArray[np.float32] | Lost
"""A block of mono samples, float32, shape (samples,), in [-1, 1]; or word of a loss."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sound:
    """Pieces of sound in ``format``; ``duration_s`` is ``None`` for a microphone.

    ``name`` is what people are told: the file's, with its channels if they are averaged.
    """

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
        averaged = f" ({file.channels} channels, averaged)" if file.channels > 1 else ""
        seconds = _counted(file) if file.seconds is None else file.seconds
        yield Sound(path.name + averaged, file.format, seconds, file)


@contextlib.contextmanager
def from_microphone(device: str | None, max_seconds: float | None) -> Iterator[Sound]:
    """What a microphone records in the meantime. Raises AudioDeviceError."""
    chosen = int(device) if device is not None and device.isdecimal() else device
    with Microphone(chosen) as microphone:
        pieces = _limited(microphone, microphone.format.sample_rate, max_seconds)
        yield Sound(microphone.device.name, microphone.format, None, pieces)


def check_source(
    name: str, files: Sequence[Path], is_microphone: bool, **of_microphone: object
) -> None:
    """Raise a usage error unless there are ``files`` or --microphone, not both, for ``name``.

    ``of_microphone`` are the options that only a microphone has, by their Python names; one that
    is given with a file is an error, too.
    """
    if bool(files) == is_microphone:
        raise UsageError("Give either a FILE or --microphone.")
    for option, value in of_microphone.items():
        if files and value not in (None, False):
            raise UsageError(f"--{option.replace('_', '-')} goes with --microphone.")
    missing = [file for file in files if not file.exists()]
    if missing and Path(name).is_file():
        raise UsageError(f"{name} is a file and {missing[0]} is none. NAME comes before FILE.")


def _counted(file: AudioFile) -> float:
    """How long a file is whose header does not say; if it is damaged, up to there."""
    samples = 0
    with contextlib.suppress(UnsupportedAudio):  # said when it is played to there
        for block in file:
            samples += len(block)
    return samples / file.sample_rate


def _limited(
    pieces: Iterable[Piece], sample_rate: int, max_seconds: float | None
) -> Iterator[Piece]:
    seconds = 0.0
    for piece in pieces:
        yield piece
        seconds += piece.seconds if isinstance(piece, Lost) else len(piece) / sample_rate
        if max_seconds is not None and seconds >= max_seconds:
            return
