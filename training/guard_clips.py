"""What the speech head is fitted on: clips of speech and of what is none, made one by one.

`planned` lists them and `made` makes one. Every choice is drawn from the clip's own seed, so they
may be made in any order and in any process. Speech is the training voices, clean, in rooms, in
noise, played faster, overdriven, over a telephone, and before or after something else. What is
none: environmental noise, the sounds of `training.sounds`, both at once, and the steadiest piece
of a voice, looped. Every clip belongs to a fold; the recorded noise of one fold is never under the
speech of another.
"""

from __future__ import annotations

import csv
import functools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from streamsv.audio import SAMPLE_RATE
from streamsv.audio.formats import AudioFormat, Decoder, Encoding, encode_mulaw
from streamsv.errors import ConfigError
from training import sounds

Floats = NDArray[np.float32]

FOLDS = 4
CLIP_S = 10
_FILES_A_SOURCE = 90
_TELEPHONE = 0.4
_SYNTHESIZED = {
    "keypad": 48,
    "line_tone": 64,
    "sweep": 48,
    "noise": 72,
    "crackle": 48,
    "hum": 40,
    "music": 240,
    "vowel": 80,
    "singing": 120,
}
_MIXED = 120
_TURNS = 160


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: ``kind`` is "speech", "turns" (some of it is speech) or what else it is.

    ``path`` is the recording that it is made of, if there is one, and ``under`` a second one, a
    noise; ``seed`` is for every other choice.
    """

    kind: str
    fold: int
    seed: tuple[int, ...]
    path: Path | None = None
    under: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """``pcm`` float32 (samples,), 16 kHz, and whether each sample is speech, bool (samples,)."""

    pcm: Floats
    is_speech: NDArray[np.bool_]


def planned(data: Path, seed: int) -> list[Clip]:
    """Every clip, in order. DATA has ``train/train.tsv`` and ``noise/noise.tsv``."""
    generator = np.random.default_rng(seed)
    of_fold: dict[int, list[Path]] = defaultdict(list)
    names: list[tuple[str, int, Path]] = []
    for listed, path in noises(data):
        name, fold = _noise_of(listed, generator)
        names.append((name, fold, path))
        of_fold[fold].append(path)
    if len(of_fold) < FOLDS:
        raise ConfigError(
            f"{data / 'noise'} has too few noises: each of {FOLDS} folds needs one at least.",
            len(names),
        )
    clips: list[Clip] = []

    def add(kind: str, fold: int, path: Path | None = None, under: Path | None = None) -> None:
        clips.append(Clip(kind, fold, (seed, len(clips)), path, under))

    for name, fold, path in names:
        add(name, fold, path)
        add(name, fold, path)
    for name, count in _SYNTHESIZED.items():
        for number in range(count):
            add(name, number % FOLDS)
    for number in range(_MIXED):
        add("music in noise", number % FOLDS, under=_any(of_fold[number % FOLDS], generator))
    voices = _voices(data, generator)
    for number, path in enumerate(voices):
        fold = int(generator.integers(FOLDS))
        if number % 3 == 0:
            add("looped vowel", fold, path)
        add("speech", fold, path, _any(of_fold[fold], generator))
    for number in range(_TURNS):
        fold = number % FOLDS
        add("turns", fold, _any(voices, generator), _any(of_fold[fold], generator))
    return clips


def made(clip: Clip, rooms: tuple[Path, ...]) -> Sound:
    """The sound of a clip."""
    generator = np.random.default_rng(clip.seed)
    if clip.kind == "turns":
        return _turns(clip, rooms, generator)
    if clip.kind == "speech":
        pcm = _speech(clip, rooms, generator)
    elif clip.kind == "looped vowel" and clip.path:
        pcm = sounds.looped(CLIP_S, read(clip.path)[: 12 * SAMPLE_RATE], generator)
        pcm = _maybe_in_room(pcm, rooms, 0.2, generator)
    elif clip.kind == "music in noise" and clip.under:
        pcm = _in_noise(sounds.music(CLIP_S, generator), read(clip.under), (-5, 15), generator)
    elif clip.path:
        pcm = _played(clip.path)
        pcm = _maybe_in_room(pcm, rooms, 0.15, generator)
    else:
        pcm = sounds.MAKERS[clip.kind](CLIP_S, generator)
        pcm = _maybe_in_room(pcm, rooms, 0.15, generator)
    if clip.kind != "speech" and generator.random() < _TELEPHONE:
        pcm = over_telephone(pcm)
    return Sound(pcm, np.full(len(pcm), clip.kind == "speech"))


def noises(data: Path) -> list[tuple[str, Path]]:
    """The recorded noises: each as ``noise/noise.tsv`` names it, and where it is."""
    rows = _rows(data / "noise" / "noise.tsv")
    return [(row["path"], data / "noise" / row["path"]) for row in rows if row["kind"] == "noise"]


def rooms_of(data: Path) -> tuple[Path, ...]:
    """The recorded room impulse responses."""
    rows = _rows(data / "noise" / "noise.tsv")
    return tuple(data / "noise" / row["path"] for row in rows if row["kind"] == "room")


@functools.lru_cache(maxsize=64)
def read(path: Path) -> Floats:
    """One recording, its first track, at 16 kHz, at most 20 s."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        pcm = file.read(20 * rate, dtype="float32", always_2d=True)[:, 0]
    return np.asarray(
        pcm if rate == SAMPLE_RATE else soxr.resample(pcm, rate, SAMPLE_RATE), np.float32
    )


def over_telephone(pcm: Floats) -> Floats:
    """Through 8 kHz mu-law and back."""
    line = encode_mulaw(soxr.resample(np.clip(pcm, -1, 1), SAMPLE_RATE, 8_000))
    decoded = Decoder(AudioFormat(Encoding.MULAW, 8_000)).decode(line)
    back = np.asarray(soxr.resample(decoded, 8_000, SAMPLE_RATE), np.float32)
    return np.resize(back, len(pcm))


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _noise_of(path: str, generator: np.random.Generator) -> tuple[str, int]:
    """Name and fold of a noise: ESC's own fold, by which pieces of one recording stay together."""
    found = re.search(r"_([1-5])-\d", path)
    drawn = int(generator.integers(FOLDS))
    fold = drawn if not found else (int(found.group(1)) - 1) % FOLDS
    kind = re.search(r"_-_(\w+?)_\d-", path)
    return "noise: " + (kind.group(1).lower().replace("_", " ") if kind else "other"), fold


def _voices(data: Path, generator: np.random.Generator) -> list[Path]:
    """Training recordings of 1.5 s and more, at most so many of a source."""
    sources = defaultdict(list)
    for row in _rows(data / "train" / "train.tsv"):
        if float(row["seconds"]) >= 1.5:
            sources[row["source"]].append(data / "train" / row["path"])
    voices = []
    for paths in sources.values():
        count = min(len(paths), _FILES_A_SOURCE)
        voices += [paths[index] for index in generator.choice(len(paths), count, replace=False)]
    return voices


def _any(paths: list[Path], generator: np.random.Generator) -> Path:
    return paths[int(generator.integers(len(paths)))]


def _played(path: Path) -> Floats:
    pcm = read(path)
    return np.resize(pcm, max(len(pcm), CLIP_S * SAMPLE_RATE))


def _speech(clip: Clip, rooms: tuple[Path, ...], generator: np.random.Generator) -> Floats:
    if clip.path is None:
        raise ValueError("Speech is made of a recording.")
    pcm = read(clip.path)[: 12 * SAMPLE_RATE]
    voice = np.resize(pcm, max(len(pcm), 4 * SAMPLE_RATE))
    if generator.random() < 0.25:
        speed = generator.uniform(0.85, 1.35)
        voice = np.asarray(soxr.resample(voice, SAMPLE_RATE * speed, SAMPLE_RATE), np.float32)
    voice = _maybe_in_room(voice, rooms, 0.25, generator)
    drawn = generator.random()
    if drawn < 0.4 and clip.under:
        voice = _in_noise(voice, read(clip.under), (3, 20), generator)
    elif drawn < 0.5:
        seconds = len(voice) / SAMPLE_RATE
        voice = _in_noise(voice, sounds.music(seconds, generator), (6, 20), generator)
    voice = sounds.leveled(voice, generator)
    if generator.random() < 0.1:
        voice = np.clip(voice / np.max(np.abs(voice) + 1e-9) * generator.uniform(1, 4), -1, 1)
    return over_telephone(voice) if generator.random() < _TELEPHONE else voice


def _turns(clip: Clip, rooms: tuple[Path, ...], generator: np.random.Generator) -> Sound:
    """Something else before speech and after it."""
    voice = _speech(clip, rooms, generator)[: 5 * SAMPLE_RATE]
    if clip.under and generator.random() < 0.4:
        other = np.resize(read(clip.under), 6 * SAMPLE_RATE)
    else:
        kind = ("music", "music", "line_tone", "keypad")[generator.integers(4)]
        other = sounds.MAKERS[kind](6, generator)
    other = sounds.leveled(other, generator)
    if generator.random() < _TELEPHONE:
        other = over_telephone(other)
    cut = round(generator.uniform(2, 5) * SAMPLE_RATE)
    parts = [(other[:cut], False), (voice, True), (other[cut:], False)]
    return Sound(
        np.concatenate([pcm for pcm, _ in parts]),
        np.concatenate([np.full(len(pcm), is_speech) for pcm, is_speech in parts]),
    )


def _maybe_in_room(
    pcm: Floats, rooms: tuple[Path, ...], chance: float, generator: np.random.Generator
) -> Floats:
    if generator.random() >= chance or not rooms:
        return pcm
    room = read(rooms[int(generator.integers(len(rooms)))])
    wet = fftconvolve(pcm, room)[: len(pcm)]
    return np.asarray(wet / max(float(np.max(np.abs(wet))), 1e-9) * 0.5, np.float32)


def _in_noise(
    pcm: Floats, noise: Floats, snr_db: tuple[float, float], generator: np.random.Generator
) -> Floats:
    """``pcm`` so many decibels above ``noise``."""
    noise = np.resize(noise, len(pcm))
    gain = 10 ** (-generator.uniform(*snr_db) / 20)
    power = np.mean(pcm**2) / max(float(np.mean(noise**2)), 1e-9)
    return np.asarray(pcm + noise * gain * np.sqrt(power), np.float32)
