"""Crops straight from the files, for sets that no cache could hold.

As in :mod:`training.batches`, a batch is a function of the seed and the step alone; nothing but
the list of files is held in memory. The teacher hears each crop as it comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamsv.audio.config import GateConfig
from streamsv.audio.gate import Speech, SpeechGate
from streamsv.errors import ConfigError
from streamsv.nn.config import HOP_SAMPLES
from training.batches import Batch
from training.manifest import Clip, is_labeled, weight_of
from training.prepare import MIN_SPEECH_S, Voice
from training.sound import read_stretch

RATE = 16_000
Floats = NDArray[np.float32]

SPARE = 2.0
"""How much longer than the crop a stretch is read before the gate, which leaves silence out."""


class DiskSource:
    """All clips of a list, and the draw of crops: voice evenly, then clip, then place.

    A voice is a speaker at one of ``speeds``, as in the cache. With ``source_weights`` a source is
    drawn by its weight (see :class:`training.config.DataConfig`) and a voice evenly within it.

    Attributes
    ----------
    class_sizes:
        (voices,) clips of each labeled voice: a speaker's speeds one after the other.
    """

    def __init__(
        self,
        clips: list[Clip],
        seed: int,
        gate: bool,
        speeds: Sequence[float] = (1.0,),
        source_weights: Mapping[str, float] | None = None,
    ) -> None:
        if not clips:
            raise ConfigError("There are no clips to train on.", None)
        self._clips, self._seed, self._gate, self._speeds = clips, seed, gate, tuple(speeds)
        numbers: dict[str, int] = {}
        voices: dict[str, int] = {}
        self._classes = np.full(len(clips), -1)
        voice = np.empty(len(clips), np.int64)
        for row, clip in enumerate(clips):
            name = f"{clip.source}/{clip.speaker}"
            voice[row] = voices.setdefault(name, len(voices))
            if is_labeled(clip.source):
                self._classes[row] = numbers.setdefault(name, len(numbers))
        sizes = np.bincount(self._classes[self._classes >= 0], minlength=len(numbers))
        self.class_sizes = np.repeat(sizes, len(self._speeds)).astype(np.int64)
        odds = 1.0 / np.bincount(voice)[voice]
        if source_weights:
            speakers: dict[str, set[int]] = {}
            for clip, number in zip(clips, voice, strict=True):
                speakers.setdefault(clip.source, set()).add(int(number))
            odds *= [
                weight_of(clip.source, source_weights) / len(speakers[clip.source])
                for clip in clips
            ]
        self._reach = np.cumsum(odds / odds.sum())

    def __len__(self) -> int:
        return len(self._clips)

    def draw(self, step: int, crops: int, hops: int) -> tuple[Batch, np.random.Generator]:
        """The batch of a step, without targets, and the generator to damage it with."""
        generator = np.random.default_rng([self._seed, step])
        places = np.searchsorted(self._reach, generator.random(crops))
        rows = np.minimum(places, len(self._clips) - 1)
        starts = generator.random(crops)
        turns = np.zeros(crops, np.int64)
        if len(self._speeds) > 1:
            turns = generator.integers(len(self._speeds), size=crops)
        samples = hops * HOP_SAMPLES
        pcm = np.stack(
            [
                self._crop(self._clips[row].path, float(start), samples, self._speeds[turn])
                for row, start, turn in zip(rows, starts, turns, strict=True)
            ]
        )
        classes = self._classes[rows]
        classes = np.where(classes < 0, -1, classes * len(self._speeds) + turns)
        nothing = torch.zeros(crops, 0)
        batch = Batch(
            torch.from_numpy(pcm),
            nothing,
            torch.zeros(crops, 0, 0),
            nothing.bool(),
            torch.from_numpy(classes),
            nothing[:0],
        )
        return batch, generator

    def _crop(self, path: Path, start: float, samples: int, speed: float) -> Floats:
        """``samples`` at ``start`` in [0, 1] of what may be the first one; short clips repeat.

        A stretch with less speech than the cache would take stays ungated: a crop would be that
        little, again and again.
        """
        needed = math.ceil(samples * speed)
        stretch = read_stretch(path, start, int(needed * SPARE) if self._gate else needed)
        if self._gate:
            outputs = SpeechGate(GateConfig()).push(stretch)
            pieces = [output.pcm for output in outputs if isinstance(output, Speech)]
            if sum(map(len, pieces)) >= MIN_SPEECH_S * RATE:
                stretch = np.concatenate(pieces)
        stretch = Voice(speed=speed)(stretch[:needed])
        return np.resize(stretch[:samples], samples)
