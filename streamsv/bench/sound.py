"""What a benchmark listens to, made of the bundled clips: real voices, any length.

All are float32, shape (samples,), 16 kHz, in [-1, 1].
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, AudioFile, GateConfig, Resampler, Speech, SpeechGate

Floats = NDArray[np.float32]

CALL_SPEECH_SHARE = 0.45
"""The share of a call in which one side speaks."""

_TURN_S = 7.0
_PAUSE_RMS = 3e-4
_TRIES = 4


def clips() -> list[Floats]:
    """The bundled clips, in the order of their names."""
    folder = Path(str(resources.files("streamsv.clips")))
    return [_read(path) for path in sorted(folder.glob("*.opus"))]


def mixed_audio(seconds: float) -> Floats:
    """The beginnings of all clips, an equal part each: speech with its natural pauses."""
    sounds = clips()
    samples = round(seconds * SAMPLE_RATE)
    part = -(-samples // len(sounds))
    return np.concatenate([np.resize(sound, part) for sound in sounds])[:samples]


def voiced_audio(seconds: float, gate: GateConfig) -> Floats:
    """Unbroken speech: what ``gate`` admits of the clips, joined and repeated."""
    admitted: list[Floats] = []
    for sound in clips():
        outputs = SpeechGate(gate).push(sound)
        admitted += [output.pcm for output in outputs if isinstance(output, Speech)]
    return np.resize(np.concatenate(admitted), round(seconds * SAMPLE_RATE))


def call_audio(seconds: float, gate: GateConfig) -> Floats:
    """One side of a call: turns of about 7 s, `CALL_SPEECH_SHARE` admitted, the rest near silence.

    ``gate`` admits some silence after each spurt and holds back some of the speech, which has been
    gated before, so the spurts are made as long as gives that share.
    """
    turns = max(1, round(seconds / _TURN_S))
    turn = round(seconds * SAMPLE_RATE) // turns
    spurt = round(CALL_SPEECH_SHARE * turn)
    for _ in range(_TRIES):
        call = _turns(turns, turn, spurt, gate)
        missing = CALL_SPEECH_SHARE - admitted_share(call, gate)
        spurt = min(turn, max(1, spurt + round(missing * turn)))
    return np.resize(call, round(seconds * SAMPLE_RATE))


def admitted_share(sound: Floats, gate: GateConfig) -> float:
    """How much of ``sound`` the gate admits, from 0 to 1."""
    outputs = SpeechGate(gate).push(sound)
    return sum(len(output.pcm) for output in outputs if isinstance(output, Speech)) / len(sound)


def _turns(turns: int, turn: int, spurt: int, gate: GateConfig) -> Floats:
    speech = np.resize(voiced_audio(turns * spurt / SAMPLE_RATE, gate), (turns, spurt))
    noise = np.random.default_rng(0).standard_normal((turns, turn - spurt), dtype=np.float32)
    return np.concatenate([speech, noise * np.float32(_PAUSE_RMS)], axis=1).ravel()


def _read(path: Path) -> Floats:
    with AudioFile(path, block_s=1.0) as file:
        resampler = Resampler(file.sample_rate)
        blocks = [resampler.push(block) for block in file]
        return np.concatenate([*blocks, resampler.finish()])
