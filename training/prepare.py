"""The cache: every clip gated as the engine gates it, in several speeds, heard by the teacher.

A voice played faster or slower is another voice (pitch and formants move), so each speed of each
speaker counts as a speaker of its own, and the teacher hears each speed afresh. For each speed
the cache holds one file of 16-bit speech, one of teacher frames (float16, 50 a second) and one of
teacher embeddings; ``index.json``, written last, says where each clip lies.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from streamsv.audio.gate import GateConfig, Speech, SpeechGate
from training.manifest import Clip, read_clips
from training.teachers import OnnxTeacher

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
    """The admitted speech of one file, 16 kHz mono float32 (samples,)."""
    pcm, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = pcm.mean(axis=1)
    if rate != 16_000:
        mono = soxr.resample(mono, rate, 16_000)
    outputs = SpeechGate(gate).push(np.asarray(mono, np.float32))
    pieces = [output.pcm for output in outputs if isinstance(output, Speech)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def folder_of(cache: Path, speed: float) -> Path:
    """Where the cache keeps one speed."""
    return cache / f"speed-{speed:.2f}"


def prepare(table: Path, teacher: OnnxTeacher, cache: Path, speeds: tuple[float, ...]) -> None:
    """Fill the cache; a speed that is complete is left as it is, so a killed run goes on."""
    clips = read_clips(table)
    for speed in speeds:
        folder = folder_of(cache, speed)
        if not (folder / "index.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _prepare_speed(clips, table.parent, teacher, folder, speed)


def _prepare_speed(
    clips: list[Clip], root: Path, teacher: OnnxTeacher, folder: Path, speed: float
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
            pcm = load_speech(clip.path, GateConfig())
            if speed != 1.0 and len(pcm):
                pcm = np.asarray(soxr.resample(pcm, 16_000 * speed, 16_000), np.float32)
            if len(pcm) < MIN_SPEECH_S * 16_000:
                continue
            embedding, heard = teacher(pcm)
            speech.write(np.rint(np.clip(pcm, -1, 1) * 32_767).astype("<i2").tobytes())
            targets.write(heard.astype("<f2").tobytes())
            suffix = "" if speed == 1.0 else f"@{speed:.2f}"
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
                    f"speed {speed:.2f}: {number + 1} of {len(clips)} clips, "
                    f"{samples / 16_000 / 3600:.2f} h of speech, {rate:.0f} s a second",
                    flush=True,
                )
    np.save(folder / "embeddings.npy", np.stack(embeddings))
    index = {
        "speed": speed,
        "features": int(heard.shape[1]),
        "clips": [dataclasses.asdict(entry) for entry in entries],
    }
    temporary = folder / "index.json.part"
    temporary.write_text(json.dumps(index), encoding="utf-8")
    temporary.replace(folder / "index.json")
