"""Crops straight from the files, for sets that no cache could hold.

As in :mod:`training.batches`, a batch is a function of the seed and the step alone; nothing but
the list of files is held in memory. The teacher hears each crop as it comes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from streamsv.audio.gate import GateConfig, Speech, SpeechGate
from streamsv.errors import ConfigError
from streamsv.nn.config import HOP_SAMPLES
from training.batches import Batch
from training.manifest import Clip, is_labeled

RATE = 16_000
Floats = NDArray[np.float32]

SPARE = 2.0
"""How much longer than the crop a stretch is read before the gate, which leaves silence out."""


class DiskSource:
    """All clips of a list, and the draw of crops: speaker evenly, then clip, then place.

    Attributes
    ----------
    class_sizes:
        (speakers,) clips of each labeled speaker.
    """

    def __init__(self, clips: list[Clip], seed: int, gate: bool) -> None:
        if not clips:
            raise ConfigError("There are no clips to train on.", None)
        self._clips, self._seed, self._gate = clips, seed, gate
        numbers: dict[str, int] = {}
        voices: dict[str, int] = {}
        self._classes = np.full(len(clips), -1)
        voice = np.empty(len(clips), np.int64)
        for row, clip in enumerate(clips):
            name = f"{clip.source}/{clip.speaker}"
            voice[row] = voices.setdefault(name, len(voices))
            if is_labeled(clip.source):
                self._classes[row] = numbers.setdefault(name, len(numbers))
        self.class_sizes = np.bincount(
            self._classes[self._classes >= 0], minlength=len(numbers)
        ).astype(np.int64)
        odds = 1.0 / np.bincount(voice)[voice]
        self._reach = np.cumsum(odds / odds.sum())

    def __len__(self) -> int:
        return len(self._clips)

    def draw(self, step: int, crops: int, hops: int) -> tuple[Batch, np.random.Generator]:
        """The batch of a step, without targets, and the generator to damage it with."""
        generator = np.random.default_rng([self._seed, step])
        places = np.searchsorted(self._reach, generator.random(crops))
        rows = np.minimum(places, len(self._clips) - 1)
        starts = generator.random(crops)
        samples = hops * HOP_SAMPLES
        pcm = np.stack(
            [
                self._crop(self._clips[row].path, float(start), samples)
                for row, start in zip(rows, starts, strict=True)
            ]
        )
        nothing = torch.zeros(crops, 0)
        batch = Batch(
            torch.from_numpy(pcm),
            nothing,
            torch.zeros(crops, 0, 0),
            nothing.bool(),
            torch.from_numpy(self._classes[rows]),
            nothing[:0],
        )
        return batch, generator

    def _crop(self, path: Path, start: float, samples: int) -> Floats:
        """``samples`` at ``start`` in [0, 1] of what may be the first one; short clips repeat."""
        wanted = int(samples * SPARE) if self._gate else samples
        stretch = read_stretch(path, start, wanted)
        if self._gate:
            outputs = SpeechGate(GateConfig()).push(stretch)
            pieces = [output.pcm for output in outputs if isinstance(output, Speech)]
            stretch = np.concatenate(pieces) if pieces else stretch
        return np.resize(stretch[:samples], samples)


def read_stretch(path: Path, start: float, samples: int) -> Floats:
    """At most ``samples`` at 16 kHz from a file, which is not read as a whole.

    ``start`` in [0, 1] is where, of all places that leave ``samples`` after them, on a multiple of
    320 samples. Raises ConfigError for a file that cannot be read or holds nothing.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            wanted = -(-samples * rate // RATE)
            grid = max(1, rate // 50)
            spare = max(0, file.frames - wanted) // grid
            file.seek(min(int(start * (spare + 1)), spare) * grid)
            pcm = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", str(path)) from error
    if not len(pcm):
        raise ConfigError(f"{path} holds no sound.", str(path))
    if rate != RATE:
        pcm = soxr.resample(pcm, rate, RATE)
    return np.asarray(pcm[:samples], np.float32)
