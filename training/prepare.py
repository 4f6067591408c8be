"""The cache: every clip gated as the engine gates it, in several voices, heard by the teacher.

A voice played faster or slower is another voice (pitch and formants move), and so is one that a
vocoder warps, so each of them counts as a speaker of its own, and the teacher hears each afresh.
For each the cache holds one file of 16-bit speech, one of teacher frames (float16, 50 a second,
the layers side by side; empty from a teacher of embeddings only) and one of teacher embeddings;
``index.json``, written last, says where each clip lies and what the cache was made of.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from streamsv.audio.config import GateConfig
from streamsv.audio.gate import Speech, SpeechGate
from streamsv.errors import ConfigError
from training.manifest import Clip, read_clips
from training.provenance import Provenance
from training.sound import read_sound
from training.teachers.heard import Teacher
from training.warp import warp

Floats = NDArray[np.float32]
MIN_SPEECH_S = 0.6
FRAME_SAMPLES = 320


@dataclasses.dataclass(frozen=True, slots=True)
class CachedClip:
    """One clip at one speed: where its speech and its teacher frames begin, and how long."""

    path: str
    source: str
    speaker: str
    is_telephone: bool
    start: int
    samples: int
    frame_start: int
    frames: int


def load_speech(path: Path, gate: GateConfig) -> Floats:
    """The admitted speech of one file, 16 kHz mono float32 (samples,).

    Raises ConfigError for a file that cannot be read.
    """
    outputs = SpeechGate(gate).push(read_sound(path))
    pieces = [output.pcm for output in outputs if isinstance(output, Speech)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class Voice:
    """What is done to every speaker: a playback speed, or a warp of pitch and formants."""

    speed: float = 1.0
    pitch: float = 1.0
    formants: float = 1.0

    @property
    def name(self) -> str:
        """In the names of folders and speakers."""
        if self.pitch == self.formants == 1.0:
            return f"{self.speed:.2f}"
        return f"{self.pitch:.2f}-{self.formants:.2f}"

    def folder(self, cache: Path) -> Path:
        """Where the cache keeps it."""
        kind = "speed" if self.pitch == self.formants == 1.0 else "warp"
        return cache / f"{kind}-{self.name}"

    def __call__(self, pcm: Floats) -> Floats:
        """``pcm`` float32 (samples,), 16 kHz -> the same words in this voice."""
        if self.speed != 1.0 and len(pcm):
            pcm = np.asarray(soxr.resample(pcm, 16_000 * self.speed, 16_000), np.float32)
        if (self.pitch, self.formants) != (1.0, 1.0) and len(pcm):
            pcm = warp(pcm, self.pitch, self.formants)
        return pcm


def voices_of(
    speeds: tuple[float, ...], warps: tuple[tuple[float, float], ...] = ()
) -> list[Voice]:
    """The voices that a configuration asks for, in order."""
    return [Voice(speed=speed) for speed in speeds] + [
        Voice(pitch=pitch, formants=formants) for pitch, formants in warps
    ]


def prepare(
    table: Path,
    teacher: Teacher,
    cache: Path,
    speeds: tuple[float, ...],
    warps: tuple[tuple[float, float], ...] = (),
    provenance: Provenance | None = None,
) -> None:
    """Fill the cache; a voice that is complete is left as it is, so a killed run goes on.

    Raises ConfigError for a complete one that is not of this ``provenance``, where that is given.
    """
    clips, voices = read_clips(table), voices_of(speeds, warps)
    prepare_clips(clips, table.parent, teacher, cache, voices, provenance)


def prepare_clips(
    clips: list[Clip],
    root: Path,
    teacher: Teacher,
    cache: Path,
    voices: list[Voice],
    provenance: Provenance | None = None,
) -> None:
    """As :func:`prepare`, for clips below ``root`` that are listed already."""
    folders = [voice.folder(cache) for voice in voices]
    complete = [folder for folder in folders if (folder / "index.json").is_file()]
    for folder in complete:
        if provenance is not None:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            provenance.check(folder, index)
    for voice, folder in zip(voices, folders, strict=True):
        if folder not in complete:
            folder.mkdir(parents=True, exist_ok=True)
            _prepare_voice(clips, root, teacher, folder, voice, provenance)


def _prepare_voice(
    clips: list[Clip],
    root: Path,
    teacher: Teacher,
    folder: Path,
    voice: Voice,
    provenance: Provenance | None,
) -> None:
    entries: list[CachedClip] = []
    embeddings: list[Floats] = []
    started = time.monotonic()
    samples = frames = 0
    with (
        (folder / "speech.i16").open("wb") as speech,
        (folder / "frames.f16").open("wb") as targets,
    ):
        for number, clip in enumerate(clips):
            pcm = voice(load_speech(clip.path, GateConfig()))
            if len(pcm) < MIN_SPEECH_S * 16_000:
                continue
            answer = teacher.hear(torch.from_numpy(pcm)[None])
            if answer.frame_rate != 50.0:
                raise ConfigError(
                    f"{teacher.name} gives {answer.frame_rate} frames a second; the cache holds "
                    "teachers of 50.",
                    answer.frame_rate,
                )
            heard = np.zeros((0, 0), np.float32)
            if answer.layers:
                heard = torch.cat(answer.layers, dim=2)[0].cpu().numpy()
            embedding = np.zeros(0, np.float32)
            if answer.embedding is not None:
                embedding = answer.embedding[0].cpu().numpy()
            speech.write(np.rint(np.clip(pcm, -1, 1) * 32_767).astype("<i2").tobytes())
            targets.write(heard.astype("<f2").tobytes())
            suffix = "" if voice == Voice() else f"@{voice.name}"
            entries.append(
                CachedClip(
                    str(clip.path.relative_to(root)),
                    clip.source,
                    clip.speaker + suffix,
                    clip.sample_rate_origin <= 8000,
                    samples,
                    len(pcm),
                    frames,
                    len(heard),
                )
            )
            embeddings.append(embedding)
            samples += len(pcm)
            frames += len(heard)
            if number % 200 == 199:
                rate = samples / 16_000 / (time.monotonic() - started)
                print(  # noqa: T201
                    f"voice {voice.name}: {number + 1} of {len(clips)} clips, "
                    f"{samples / 16_000 / 3600:.2f} h of speech, {rate:.0f} s a second",
                    flush=True,
                )
    if not entries:
        raise ConfigError(f"No clip below {root} holds {MIN_SPEECH_S} s of speech.", str(root))
    np.save(folder / "embeddings.npy", np.stack(embeddings))
    index = {
        "speed": voice.speed,
        "teacher": teacher.name,
        "layers": [layer.shape[2] for layer in answer.layers],
        "first_center_s": answer.first_center_s,
        "features": int(heard.shape[1]),
        "clips": [dataclasses.asdict(entry) for entry in entries],
    }
    if provenance is not None:
        index |= provenance.to_index()
    temporary = folder / "index.json.part"
    temporary.write_text(json.dumps(index), encoding="utf-8")
    temporary.replace(folder / "index.json")
