"""A sound file, block by block: WAV, FLAC, OGG, Opus, MP3 and what else libsndfile reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamsv.audio.formats import (
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    AudioFormat,
    Encoding,
    within_full_scale,
)
from streamsv.audio.resample import Resampler
from streamsv.errors import ConfigError, UnsupportedAudio

_MAX_FILE_RATE = 768_000
_UNKNOWN_FRAMES = 1 << 62
"""libsndfile says the largest number that it has where a header has none."""

_LARGEST_HEADER = 4096
"""Bytes; a file without samples that is larger has a header that is wrong about them."""

_MOST_VALUES = 1 << 20
"""Values read at a time, all channels together, whatever a header claims."""


class AudioFile:
    """An open sound file. Iterating gives its blocks, from the start each time.

    Blocks are float32, shape (samples,), in [-1, 1], at ``sample_rate``, channels averaged;
    ``block.astype("<f4").tobytes()`` are bytes of ``format``. The last block may be shorter.

    Parameters
    ----------
    path:
        The file.
    block_s:
        Seconds of sound in a block.

    Attributes
    ----------
    sample_rate:
        Samples a second of the blocks: the file's, or 48000 where the file has more.
    channels:
        Channels of the file.
    frames:
        Samples of the whole file at ``sample_rate``; None if its header does not say, as that of
        a FLAC that was written into a pipe.
    format:
        What a session must be told to take the blocks' bytes.

    Raises
    ------
    UnsupportedAudio
        If there is no sound to be had at ``path``; while iterating, if the file is damaged.
    ConfigError
        If ``block_s`` is not positive.
    """

    def __init__(self, path: str | os.PathLike[str], block_s: float = 0.1) -> None:
        if not block_s > 0:
            raise ConfigError(f"block_s is {block_s!r}. Use a positive number of seconds.", block_s)
        self.path = Path(path)
        self._file = _opened(self.path)
        self._is_begun = False
        try:
            self._file_rate = int(self._file.samplerate)
            self._check()
        except UnsupportedAudio:
            self._file.close()
            raise
        self.channels = int(self._file.channels)
        most = max(1, min(int(self._file.frames), _MOST_VALUES // self.channels))
        self._block_frames = max(1, round(min(most, block_s * self._file_rate)))
        self.sample_rate = min(self._file_rate, MAX_SAMPLE_RATE)
        self.frames: int | None = None
        if self._file.frames < _UNKNOWN_FRAMES:
            self.frames = round(self._file.frames * self.sample_rate / self._file_rate)
        self.format = AudioFormat(Encoding.F32LE, self.sample_rate)

    @property
    def seconds(self) -> float | None:
        """Length of the file; None if its header does not say."""
        return None if self.frames is None else float(self._file.frames) / self._file_rate

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        blocks = self._blocks()
        return blocks if self.sample_rate == self._file_rate else self._at_limit(blocks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._file.close()

    def _check(self) -> None:
        if self._file.frames <= 0 and self.path.stat().st_size > _LARGEST_HEADER:
            raise UnsupportedAudio(
                f"The header of {self.path} says that it holds no sound, and there is more in it: "
                "the header is damaged, as a recorder leaves it that was ended before it was done. "
                "Convert the file, for example with `ffmpeg -i FILE repaired.wav`, and pass that.",
                str(self.path),
            )
        if self._file.frames <= 0:
            raise UnsupportedAudio(
                f"{self.path} holds no sound: it has a header and no samples. "
                "Record it again, or pass another file.",
                str(self.path),
            )
        if self._file_rate > _MAX_FILE_RATE:
            raise UnsupportedAudio(
                f"{self.path} claims a sample rate of {self._file_rate} Hz; files of up to "
                f"{_MAX_FILE_RATE} Hz are read. Its header is damaged, or resample it.",
                self._file_rate,
            )
        if self._file_rate < MIN_SAMPLE_RATE:
            raise UnsupportedAudio(
                f"{self.path} has a sample rate of {self._file_rate} Hz, which is too low to "
                f"know a voice by. Pass a file with at least {MIN_SAMPLE_RATE} Hz.",
                self._file_rate,
            )

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        if self._file.closed:
            raise UnsupportedAudio(
                f"{self.path} has been closed. Open it again to read it.", str(self.path)
            )
        if self._is_begun:
            self._file.close()
            self._file = _opened(self.path)
        self._is_begun = True
        read = 0
        try:
            while True:
                block = self._file.read(self._block_frames, dtype="float32", always_2d=True)
                if not len(block):
                    return
                read += len(block)
                yield self._mono(block)
        except _soundfile().SoundFileError as error:
            raise UnsupportedAudio(
                f"{self.path} is damaged after {read / self._file_rate:.1f} s: {error} "
                "Convert it to WAV or FLAC, or pass another file.",
                str(self.path),
            ) from error

    def _mono(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            limited = within_full_scale(block)
        except UnsupportedAudio as error:
            raise UnsupportedAudio(f"{self.path}: {error.message}", error.value) from error
        if self.channels == 1:
            return limited[:, 0]
        return np.asarray(limited.mean(axis=1), dtype=np.float32)

    def _at_limit(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        resampler = Resampler(self._file_rate, self.sample_rate)
        for block in blocks:
            ready = resampler.push(block)
            if len(ready):
                yield np.clip(ready, -1.0, 1.0)
        rest = resampler.finish()
        if len(rest):
            yield np.clip(rest, -1.0, 1.0)


def read_blocks(
    path: str | os.PathLike[str], block_s: float = 0.1
) -> Iterator[NDArray[np.float32]]:
    """The blocks of a sound file, which is opened at the first and closed after the last.

    Parameters
    ----------
    path:
        The file.
    block_s:
        Seconds of sound in a block.

    Yields
    ------
    float32, shape (samples,), in [-1, 1], at the file's rate (at most 48 kHz), channels averaged.

    Raises
    ------
    UnsupportedAudio
        If there is no sound to be had at ``path``, or the file is damaged.
    ConfigError
        If ``block_s`` is not positive.
    """
    with AudioFile(path, block_s) as file:
        yield from file


def _opened(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except FileNotFoundError as error:
        raise UnsupportedAudio(
            f"There is no file {path}. Check the name and the directory.", str(path)
        ) from error
    except IsADirectoryError as error:
        raise UnsupportedAudio(
            f"{path} is a directory. Pass a sound file in it instead.", str(path)
        ) from error
    except OSError as error:
        raise UnsupportedAudio(
            f"{path} cannot be read: {error.strerror}. Check its permissions.", str(path)
        ) from error
    if is_empty:
        raise UnsupportedAudio(
            f"{path} is empty. Record it again, or pass another file.", str(path)
        )
    soundfile = _soundfile()
    try:
        # As bytes a name need not be UTF-8; only POSIX takes it so.
        opened = soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else str(path))
    except (soundfile.SoundFileError, TypeError) as error:
        raise UnsupportedAudio(
            f"{path} is not a sound file that can be read. "
            "Pass WAV, FLAC, OGG, Opus or MP3, or convert it to one of these.",
            str(path),
        ) from error
    # After each read of a file that it can seek in, soundfile seeks to where it is already. An MP3
    # decoder starts anew there: samples come out wrong, and it complains on standard error. For
    # the same reason a file is opened again to be read again.
    opened.seekable = _cannot_seek
    return opened


def _cannot_seek() -> bool:
    return False


def _soundfile() -> Any:
    try:
        import soundfile
    except OSError as error:
        raise UnsupportedAudio(
            "Sound files cannot be read because the library libsndfile is missing. "
            "On Debian and Ubuntu: apt-get install libsndfile1."
        ) from error
    return soundfile
