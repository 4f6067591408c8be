"""Damage for the student's copy: rooms, noise, other voices, devices, telephones, clipping.

All in batches of torch tensors, mostly in the frequency domain, with every choice drawn from
the generator that the caller passes: the same seed damages the same way.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamsv.errors import ConfigError
from training.config import AugmentConfig
from training.manifest import Sound, read_sounds
from training.rooms import simulate_rooms
from training.sound import read_sound, read_stretch
from training.telephony import automatic_gain, fast_size, g711, lose_packets, round_trip

RATE = 16_000


class Augmenter:
    """Damages batches of speech (batch, samples), 16 kHz, in [-1, 1].

    ``sounds`` is the manifest of noises and rooms (see :func:`training.manifest.read_sounds`), or
    what one lists. Sounds of kind ``noise`` and ``music`` are noises, ``room`` rooms; others are
    left out. Without ``preload`` each is read from disk when it is wanted.
    """

    def __init__(
        self, config: AugmentConfig, sounds: Path | list[Sound], preload: bool = True
    ) -> None:
        self.config = config
        self._noises: list[Tensor | Path] = []
        self._rooms: list[Tensor | Path] = []
        for sound in read_sounds(sounds) if isinstance(sounds, Path) else sounds:
            kept = self._rooms if sound.kind == "room" else self._noises
            if sound.kind not in ("room", "noise", "music"):
                continue
            if not preload:
                kept.append(sound.path)
                continue
            pcm = read_sound(sound.path)
            if sound.kind == "room":
                kept.append(self._aligned(pcm))
            elif float(np.abs(pcm).max(initial=0.0)) > 1e-4:
                kept.append(torch.from_numpy(pcm))
        if config.simulated_rooms:
            self._rooms += [self._aligned(pcm) for pcm in simulate_rooms(config.simulated_rooms, 0)]
        if not self._noises and config.noise:
            raise ConfigError("There are no noises: give some, or set augment.noise to 0.", None)

    @staticmethod
    def _aligned(response: NDArray[np.float32]) -> Tensor:
        """A room response that begins with its direct sound, at most 0.5 s, of unit energy."""
        start = int(np.abs(response).argmax())
        cut = response[start : start + RATE // 2]
        return torch.from_numpy(cut / np.sqrt(np.sum(cut**2) + 1e-9))

    def __call__(self, clean: Tensor, generator: np.random.Generator) -> Tensor:
        """(batch, samples) clean -> damaged, the same shape."""
        batch, samples = clean.shape
        x = self._with_noise(self._in_rooms(clean, generator), generator)
        is_coded = torch.from_numpy(generator.random(batch) < self.config.telephone)
        size = fast_size(samples + RATE // 16)
        response = self._channels(is_coded, size, generator)
        x = torch.fft.irfft(torch.fft.rfft(x, size) * response, size)[:, :samples]
        level = torch.from_numpy(10 ** (generator.uniform(-36.0, -14.0, (batch, 1)) / 20)).float()
        x = x * (level / (x.square().mean(1, keepdim=True).sqrt() + 1e-6))
        is_clipped = torch.from_numpy(generator.random(batch) < self.config.clipping)
        limit = level * torch.from_numpy(generator.uniform(1.0, 2.5, (batch, 1))).float()
        x = torch.where(is_clipped[:, None], torch.minimum(torch.maximum(x, -limit), limit), x)
        x = self._on_the_line(x, generator).clamp(-1.0, 1.0)
        # Last, so that nothing is left above the band, neither of clipping nor of lost packets.
        x[is_coded] = g711(x[is_coded], generator)
        return x

    def _on_the_line(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        """Gain control, codecs and lost packets, each where it is drawn."""
        for row in self._drawn(len(x), self.config.gain_control, generator):
            x[row] = automatic_gain(x[row][None], generator)[0]
        for codec in ("gsm", "adpcm"):
            for row in self._drawn(len(x), getattr(self.config, codec), generator):
                x[row] = round_trip(x[row].clamp(-1.0, 1.0), codec)
        for row in self._drawn(len(x), self.config.packet_loss, generator):
            x[row] = lose_packets(x[row], generator)
        return x

    @staticmethod
    def _drawn(batch: int, share: float, generator: np.random.Generator) -> list[int]:
        """Rows drawn with probability ``share``; nothing is drawn for a share of 0."""
        if not share:
            return []
        return [int(row) for row in np.flatnonzero(generator.random(batch) < share)]

    def _in_rooms(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        if not self._rooms:
            return x
        samples = x.shape[1]
        rows = np.flatnonzero(generator.random(len(x)) < self.config.room)
        if not len(rows):
            return x
        responses = torch.zeros(len(rows), RATE // 2)
        for place in range(len(rows)):
            room = self._rooms[int(generator.integers(len(self._rooms)))]
            if isinstance(room, Path):
                room = self._aligned(read_sound(room))
            responses[place, : len(room)] = room
        size = fast_size(samples + RATE // 2)
        spectrum = torch.fft.rfft(x[rows], size) * torch.fft.rfft(responses, size)
        echoing = x.clone()
        echoing[rows] = torch.fft.irfft(spectrum, size)[:, :samples]
        return echoing

    def _with_noise(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        batch, samples = x.shape
        power = x.square().mean(1, keepdim=True)
        noisy = x.clone()
        for row in np.flatnonzero(generator.random(batch) < self.config.noise):
            noise = self._stretch(samples, generator)
            noisy[row] += self._scaled(noise, power[row], self.config.noise_snr_db, generator)
        for row in np.flatnonzero(generator.random(batch) < self.config.babble):
            if batch < 2:
                break  # nobody else is there to babble
            steps = generator.integers(1, batch, int(generator.integers(2, 6)))
            babble = x[torch.from_numpy((row + steps) % batch)].mean(0)
            noisy[row] += self._scaled(babble, power[row], self.config.babble_snr_db, generator)
        return noisy

    def _stretch(self, samples: int, generator: np.random.Generator) -> Tensor:
        noise = self._noises[int(generator.integers(len(self._noises)))]
        if isinstance(noise, Path):
            noise = torch.from_numpy(read_stretch(noise, generator.random(), samples))
        repeats = 1 + (samples - 1) // len(noise) + 1
        start = int(generator.integers(len(noise)))
        return noise.repeat(repeats)[start : start + samples]

    @staticmethod
    def _scaled(
        noise: Tensor, power: Tensor, snr_db: tuple[float, float], generator: np.random.Generator
    ) -> Tensor:
        wanted = power / 10 ** (generator.uniform(*snr_db) / 10)
        return noise * torch.sqrt(wanted / (noise.square().mean() + 1e-9))

    def _channels(self, is_coded: Tensor, size: int, generator: np.random.Generator) -> Tensor:
        """Magnitude responses (batch, size / 2 + 1): device curves, and telephone bands where
        ``is_coded`` (batch,). Drawn on a coarse grid, then interpolated.
        """
        batch = len(is_coded)
        hertz = torch.linspace(0.0, RATE / 2, 513)
        octaves = torch.log2(hertz.clamp(min=50.0) / 50.0) / math.log2(160.0)
        decibels = torch.zeros(batch, len(hertz))
        for row in np.flatnonzero(generator.random(batch) < self.config.equalizer):
            for order in range(1, 5):
                gain, phase = generator.normal(0, 5.0 / order), generator.uniform(0, 2 * math.pi)
                decibels[row] += gain * torch.cos(math.pi * order * octaves + phase)
        for row in np.flatnonzero(is_coded.numpy()):
            low, high = generator.uniform(50.0, 350.0), generator.uniform(3200.0, 3900.0)
            decibels[row] -= 24.0 * torch.relu(torch.log2(low / hertz.clamp(min=20.0)))
            decibels[row] -= 0.2 * torch.relu(hertz - high)
        gains = torch.pow(10.0, decibels.clamp(min=-100.0) / 20.0)
        wanted = size // 2 + 1
        return torch.nn.functional.interpolate(
            gains[:, None], wanted, mode="linear", align_corners=True
        )[:, 0]
