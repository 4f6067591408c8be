"""Batches of crops from the cache, each a function of the seed and the step alone.

Nothing is remembered between steps, so a run that was killed goes on with the very batches that
an uninterrupted run would have had.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamsv.errors import ConfigError
from streamsv.nn.config import HOP_FRAMES, HOP_SAMPLES
from training.config import DataConfig, TeacherConfig
from training.manifest import is_labeled, weight_of
from training.prepare import FRAME_SAMPLES, CachedClip, voices_of
from training.provenance import provenance_of


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """``pcm`` (batch, samples) clean; ``targets`` (batch, dimension) unit teacher embeddings,
    dimension 0 without any; ``frames`` (batch, frames, features) teacher frames, the layers side
    by side; ``frames_valid`` (batch, frames). The last two are empty, (batch, 0, features) and
    (batch, 0), where frames are not asked for. ``speakers`` (batch,) the class of each clip's
    speaker, -1 unknown; ``others`` (queue, dimension) teacher embeddings of further clips.
    """

    pcm: Tensor
    targets: Tensor
    frames: Tensor
    frames_valid: Tensor
    speakers: Tensor
    others: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of length 1; a vector of no length, such as a silent teacher's, stays as it is."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9), np.float32)


def _frames_of(path: Path, features: int) -> NDArray[np.float16]:
    """(frames, features) from the cache; none from a teacher of embeddings only."""
    if not features:
        return np.zeros((0, 0), np.float16)
    return np.memmap(path, np.float16, "r").reshape(-1, features)


class CropSource:
    """All cached clips, their targets, and the draw of crops.

    A teacher embedding is centered on the mean of its channel (true telephone or wideband), so
    that strangers are near cosine 0 and the channel is not part of the target; it is then mixed
    with the mean of its speaker where labels exist (``speaker_share``). A channel of one clip has
    no mean of its own and is centered on the mean of all.

    ``teacher`` is whose answers the cache must hold; ConfigError for another's, or for those to
    another list of clips.

    Attributes
    ----------
    bank:
        (speakers, dimension) unit centers of all labeled speakers, the classes of the
        posterior loss.
    class_sizes:
        (speakers,) clips of each labeled speaker.
    layers:
        Features of each of the teacher's layers that the cache holds.
    first_center_s:
        Where the center of a crop's first teacher frame lies.
    """

    def __init__(
        self,
        config: DataConfig,
        seed: int,
        speaker_share: float,
        with_frames: bool = True,
        queue: int = 0,
        teacher: TeacherConfig | None = None,
    ) -> None:
        provenance = provenance_of(config, teacher) if teacher is not None else None
        self._seed = seed
        self._with_frames = with_frames
        self._queue = queue
        self._clips: list[CachedClip] = []
        self._speech: list[NDArray[np.int16]] = []
        self._frames: list[NDArray[np.float16]] = []
        self._speed_of: list[int] = []
        embeddings = []
        for number, voice in enumerate(voices_of(config.speeds, config.warps)):
            folder = voice.folder(Path(config.cache))
            if not (folder / "index.json").is_file():
                raise ConfigError(
                    f"The cache has no complete {folder}. Run `python -m training prepare CONFIG`.",
                    str(folder),
                )
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            if provenance is not None:
                provenance.check(folder, index)
            clips = [CachedClip(**clip) for clip in index["clips"]]
            self._clips += clips
            self._speed_of += [number] * len(clips)
            self._speech.append(np.memmap(folder / "speech.i16", np.int16, "r"))
            self._frames.append(_frames_of(folder / "frames.f16", index["features"]))
            embeddings.append(np.load(folder / "embeddings.npy"))
            self.layers: tuple[int, ...] = tuple(index.get("layers", [index["features"]]))
            self.first_center_s: float = index.get("first_center_s", 0.0125)
        self.features = self._frames[0].shape[1]
        self._classes, self.class_sizes = self._label()
        self._targets, self.bank = self._make_targets(np.concatenate(embeddings), speaker_share)
        self._odds = self._make_odds(config.source_weights)

    def __len__(self) -> int:
        return len(self._clips)

    def _label(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The class of each clip, -1 where the speaker is not known, and the classes' sizes."""
        numbers: dict[str, int] = {}
        classes = np.full(len(self._clips), -1)
        for row, clip in enumerate(self._clips):
            if is_labeled(clip.source):
                classes[row] = numbers.setdefault(f"{clip.source}/{clip.speaker}", len(numbers))
        return classes, np.bincount(classes[classes >= 0], minlength=len(numbers))

    def _make_targets(
        self, embeddings: NDArray[np.float32], speaker_share: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if embeddings.shape[1] == 0:
            return embeddings, np.zeros((len(self.class_sizes), 0), np.float32)
        units = _unit(embeddings)
        telephone = np.array([clip.is_telephone for clip in self._clips])
        of_all = units.mean(axis=0)
        for channel in (telephone, ~telephone):
            if channel.any():
                units[channel] -= units[channel].mean(axis=0) if channel.sum() > 1 else of_all
        units = _unit(units)
        centers = []
        targets = units.copy()
        for speaker in range(len(self.class_sizes)):
            rows = np.flatnonzero(self._classes == speaker)
            center = _unit(units[rows].mean(axis=0))
            centers.append(center)
            targets[rows] = _unit((1 - speaker_share) * units[rows] + speaker_share * center)
        bank = np.stack(centers) if centers else np.zeros((0, units.shape[1]), np.float32)
        return targets, bank

    def _make_odds(self, weights: dict[str, float]) -> NDArray[np.float64]:
        """The probability of each clip: source by weight, speaker evenly, clip by length."""
        totals: dict[str, dict[str, float]] = {}
        lengths = np.array([min(clip.samples, 20 * 16_000) for clip in self._clips], float)
        for clip, length in zip(self._clips, lengths, strict=True):
            speakers = totals.setdefault(clip.source, {})
            speakers[clip.speaker] = speakers.get(clip.speaker, 0.0) + length

        odds = np.array(
            [
                weight_of(clip.source, weights)
                / len(totals[clip.source])
                * (length / totals[clip.source][clip.speaker])
                for clip, length in zip(self._clips, lengths, strict=True)
            ]
        )
        return np.asarray(odds / odds.sum(), np.float64)

    def draw(self, step: int, crops: int, hops: int) -> tuple[Batch, np.random.Generator]:
        """The batch of a step, and the generator to damage it with."""
        generator = np.random.default_rng([self._seed, step])
        rows = generator.choice(len(self._clips), crops, p=self._odds)
        samples, frames = hops * HOP_SAMPLES, hops * HOP_FRAMES * self._with_frames
        pcm = np.zeros((crops, samples), np.float32)
        targets = np.zeros((crops, frames, self.features), np.float32)
        valid = np.zeros((crops, frames), bool)
        for place, row in enumerate(rows):
            clip, speed = self._clips[row], self._speed_of[row]
            spare = max(0, clip.samples - samples) // FRAME_SAMPLES
            first = int(generator.integers(spare + 1))
            start = clip.start + first * FRAME_SAMPLES
            take = min(samples, clip.samples - first * FRAME_SAMPLES)
            speech = self._speech[speed][start : start + take].astype(np.float32) / 32_768
            pcm[place] = np.resize(speech, samples)
            known = max(0, min(frames, clip.frames - first, take // FRAME_SAMPLES))
            frame_start = clip.frame_start + first
            targets[place, :known] = self._frames[speed][frame_start : frame_start + known]
            valid[place, :known] = True
        batch = Batch(
            torch.from_numpy(pcm),
            torch.from_numpy(self._targets[rows]),
            torch.from_numpy(targets),
            torch.from_numpy(valid),
            torch.from_numpy(self._classes[rows]),
            torch.from_numpy(self._draw_others(generator)),
        )
        return batch, generator

    def crops_of_voices(
        self, crops: int, hops: int, batch: int = 32, altered: bool = False
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Batches of ``crops`` crops of every labeled voice as it was recorded, and whose they are.

        Each is (batch, samples) clean speech with (batch,) classes; the crops of a voice are
        spread over its clips, and a clip shorter than a crop is repeated. The first voice of the
        configuration is taken for the one that was recorded; with ``altered`` the others, played
        at another speed or warped, are voices of their own.
        """
        samples = hops * HOP_SAMPLES
        chosen: list[tuple[int, int]] = []
        is_recorded = np.array(self._speed_of) == 0
        for voice in range(len(self.class_sizes)):
            rows = np.flatnonzero((self._classes == voice) & (is_recorded | altered))
            if not len(rows):
                continue
            for number in range(crops):
                row = int(rows[number % len(rows)])
                turn, turns = number // len(rows), -(-crops // len(rows))
                spare = max(0, self._clips[row].samples - samples)
                chosen.append((row, spare * turn // max(1, turns - 1)))
        for start in range(0, len(chosen), batch):
            part = chosen[start : start + batch]
            pcm = np.zeros((len(part), samples), np.float32)
            for place, (row, first) in enumerate(part):
                clip = self._clips[row]
                begin = clip.start + first
                speech = self._speech[self._speed_of[row]][
                    begin : begin + min(samples, clip.samples - first)
                ]
                pcm[place] = np.resize(speech.astype(np.float32) / 32_768, samples)
            yield pcm, self._classes[[row for row, _ in part]]

    def _draw_others(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """A fresh queue of other clips' targets, so that none has to be remembered."""
        if not self._queue:
            return self._targets[:0]
        return self._targets[generator.integers(len(self._targets), size=self._queue)]
