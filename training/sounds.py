"""Sounds that are no speech, synthesized: what the speech guard must learn to leave out.

Each maker takes a number of seconds and a generator from which every choice is drawn, and gives
float32 (samples,), 16 kHz, in [-1, 1]. They are made of textbook parts (additive, plucked-string
and frequency-modulation synthesis, noise in bands, source and filter), because music that may be
given away was not at hand. The tests judge the guard on sounds of their own making.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter as butterworth
from scipy.signal import lfilter, sosfilt

Floats = NDArray[np.float32]
Maker = Callable[[float, np.random.Generator], Floats]

RATE = 16_000
_KEYPAD_HZ = ((697, 770, 852, 941), (1209, 1336, 1477, 1633))
_LINE_HZ = ((350, 440), (425,), (440, 480), (480, 620), (400, 450), (950,), (1400,), (440,))
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10))


def leveled(x: NDArray[np.floating], generator: np.random.Generator) -> Floats:
    """``x`` with its peak somewhere from -26 to 0 dBFS."""
    peak = float(np.max(np.abs(x), initial=1e-9))
    return np.asarray(x / peak * 10 ** (generator.uniform(-26, 0) / 20), np.float32)


def keypad(seconds: float, generator: np.random.Generator) -> Floats:
    """DTMF digits (ITU-T Q.23) of 50 to 400 ms with pauses of 20 to 250 ms."""
    x = np.zeros(round(seconds * RATE))
    at = 0
    on_s, off_s = generator.uniform(0.05, 0.4), generator.uniform(0.02, 0.25)
    while at < len(x):
        time = np.arange(round(on_s * RATE)) / RATE
        low, high = (generator.choice(row) for row in _KEYPAD_HZ)
        tone = np.sin(2 * np.pi * low * time) + generator.uniform(0.7, 1.3) * np.sin(
            2 * np.pi * high * time
        )
        x[at : at + len(tone)] = tone[: len(x) - at]
        at += len(tone) + round(off_s * RATE)
    return leveled(x + _hiss(len(x), generator), generator)


def line_tone(seconds: float, generator: np.random.Generator) -> Floats:
    """Dial, ringing, busy and hold tones: steady, or in a cadence."""
    time = np.arange(round(seconds * RATE)) / RATE
    frequencies = _LINE_HZ[generator.integers(len(_LINE_HZ))]
    if generator.random() < 0.3:
        frequencies = tuple(generator.uniform(150, 3400, generator.integers(1, 4)))
    x = np.sum([np.sin(2 * np.pi * f * time) for f in frequencies], axis=0)
    if generator.random() < 0.2:
        x = np.sign(x)
    if generator.random() < 0.6:
        on_s, off_s = generator.uniform(0.05, 2.0), generator.uniform(0.05, 2.0)
        x = x * ((time % (on_s + off_s)) < on_s)
    return leveled(x + _hiss(len(x), generator), generator)


def sweep(seconds: float, generator: np.random.Generator) -> Floats:
    """A siren or a chirp: one tone, with overtones or none, whose pitch moves all the time."""
    time = np.arange(round(seconds * RATE)) / RATE
    low, high = np.sort(generator.uniform(150, 2500, 2))
    period = generator.uniform(0.2, 4.0)
    phase = (time % period) / period
    moving = phase if generator.random() < 0.5 else 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    angle = 2 * np.pi * np.cumsum(low + (high - low) * moving) / RATE
    overtones = generator.integers(1, 6)
    x = np.sum([np.sin(k * angle) / k for k in range(1, overtones + 1)], axis=0)
    return leveled(x + _hiss(len(x), generator), generator)


def noise(seconds: float, generator: np.random.Generator) -> Floats:
    """White, pink, brown or band noise, steady or swelling 0.3 to 9 times a second."""
    samples = round(seconds * RATE)
    x = _colored(samples, generator.uniform(0.0, 2.2), generator)
    if generator.random() < 0.5:
        x = _band(x, *np.sort(generator.uniform(50, 7500, 2)))
    if generator.random() < 0.5:
        time = np.arange(samples) / RATE
        rate_hz, depth = generator.uniform(0.3, 9.0), generator.uniform(0.3, 1.0)
        swell = 1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * rate_hz * time))
        x = x * swell ** generator.uniform(1, 3)
    return leveled(x, generator)


def crackle(seconds: float, generator: np.random.Generator) -> Floats:
    """Knocks, clicks and drops: bursts of ringing noise at random times."""
    samples = round(seconds * RATE)
    x = np.zeros(samples)
    rate = generator.uniform(1, 25)
    for at in generator.uniform(0, seconds, round(rate * seconds)):
        length = round(generator.uniform(0.003, 0.15) * RATE)
        burst = generator.standard_normal(length) * np.exp(-np.arange(length) / (0.25 * length))
        start = round(at * RATE)
        x[start : start + length] += burst[: samples - start] * generator.uniform(0.2, 1)
    centre = generator.uniform(200, 4000)
    x = _band(x, 0.6 * centre, 1.6 * centre) + generator.uniform(0, 0.5) * x
    return leveled(x + _hiss(samples, generator), generator)


def hum(seconds: float, generator: np.random.Generator) -> Floats:
    """An engine or the mains: many overtones of a low tone that barely moves, and rumble."""
    time = np.arange(round(seconds * RATE)) / RATE
    base = generator.choice([50.0, 60.0, generator.uniform(25, 220)])
    drift = 1 + generator.uniform(0, 0.05) * np.sin(2 * np.pi * generator.uniform(0.1, 2) * time)
    angle = 2 * np.pi * np.cumsum(base * drift) / RATE
    x = np.zeros(len(time))
    for k in range(1, int(min(40, 7000 / base))):
        x += generator.uniform(0, 1) * np.sin(k * angle + generator.uniform(0, 6)) / k**0.7
    rumble = _colored(len(time), 2.0, generator)
    return leveled(x + generator.uniform(0, 1.5) * rumble / np.std(rumble), generator)


def music(seconds: float, generator: np.random.Generator) -> Floats:
    """A piece of one to four parts: melody, arpeggio, chords, bass, drums, at 55 to 190 beats."""
    samples = round(seconds * RATE)
    beat_s = 60 / generator.uniform(55, 190)
    scale = _SCALES[generator.integers(len(_SCALES))]
    root = int(generator.integers(36, 60))
    parts = ["melody", "arpeggio", "chords", "bass", "drums"]
    chosen = generator.choice(parts, generator.integers(1, 5), replace=False)
    x = np.zeros(samples)
    for part in chosen:
        layer = (
            _drums(samples, beat_s, generator)
            if part == "drums"
            else _played(str(part), samples, beat_s, root, scale, generator)
        )
        x += layer / max(float(np.std(layer)), 1e-6) * generator.uniform(0.3, 1.0)
    return leveled(x + 0.3 * _hiss(samples, generator), generator)


def vowel(seconds: float, generator: np.random.Generator) -> Floats:
    """One synthesized vowel, held or said again and again: pulses through four formants."""
    samples = round(seconds * RATE)
    time = np.arange(samples) / RATE
    pitch = generator.uniform(80, 300) * np.exp(
        generator.uniform(0, 0.06) * np.sin(2 * np.pi * generator.uniform(2, 7) * time)
        + generator.uniform(-0.15, 0.15) * np.sin(2 * np.pi * generator.uniform(0.2, 3) * time)
    )
    pitch *= 1 + generator.uniform(0, 0.015) * generator.standard_normal(samples)
    turns = np.cumsum(pitch) / RATE
    pulses = np.diff(np.floor(turns), prepend=0.0)
    source = lfilter([1.0], [1.0, -generator.uniform(0.85, 0.98)], pulses)
    source = source + generator.uniform(0, 0.02) * generator.standard_normal(samples)
    x = _through_formants(np.diff(source, prepend=0.0), generator)
    return leveled(x * _repeated(samples, generator) + _hiss(samples, generator), generator)


def singing(seconds: float, generator: np.random.Generator) -> Floats:
    """A melody hummed or sung on one vowel or several, with vibrato, alone or over chords."""
    samples = round(seconds * RATE)
    beat_s = 60 / generator.uniform(50, 160)
    scale = _SCALES[generator.integers(len(_SCALES))]
    root = int(generator.integers(43, 62))
    semitones = np.zeros(samples)
    at, degree = 0, 0
    while at < samples:
        length = round(beat_s * generator.choice([0.5, 1, 1, 2, 4]) * RATE)
        degree = int(np.clip(degree + generator.integers(-2, 3), -3, 8))
        semitones[at : at + length] = 12 * (degree // len(scale)) + scale[degree % len(scale)]
        at += length
    glide = round(generator.uniform(0.03, 0.12) * RATE)
    semitones = np.convolve(semitones, np.full(glide, 1 / glide), "same")
    time = np.arange(samples) / RATE
    semitones += generator.uniform(0, 0.8) * np.sin(2 * np.pi * generator.uniform(4, 7) * time)
    turns = np.cumsum(440 * 2 ** ((root + semitones - 69) / 12)) / RATE
    source = lfilter(
        [1.0], [1.0, -generator.uniform(0.85, 0.98)], np.diff(np.floor(turns), prepend=0.0)
    )
    source = np.diff(source + generator.uniform(0, 0.02) * generator.standard_normal(samples))
    x = np.zeros(samples)
    at = 0
    vowels = [int(generator.integers(1 << 31)) for _ in range(generator.integers(1, 4))]
    while at < samples:
        length = round(beat_s * generator.choice([1, 2, 4]) * RATE)
        chosen = np.random.default_rng(vowels[generator.integers(len(vowels))])
        piece = _through_formants(source[max(at - 400, 0) : at + length], chosen)
        piece = piece[min(at, 400) :]
        ramp = np.minimum(1, np.minimum(np.arange(len(piece)), np.arange(len(piece))[::-1]) / 640)
        x[at : at + len(piece)] += piece * ramp / max(float(np.std(piece)), 1e-9)
        at += length
    if generator.random() < 0.4:
        layer = _played("chords", samples, beat_s, root - 12, scale, generator)
        x += layer / max(float(np.std(layer)), 1e-6) * generator.uniform(0.1, 0.6)
    return leveled(x + 0.3 * _hiss(samples, generator), generator)


def looped(seconds: float, speech: Floats, generator: np.random.Generator) -> Floats:
    """The steadiest loud 60 to 350 ms of ``speech``, looped, with pauses between or without."""
    length = round(generator.uniform(0.06, 0.35) * RATE)
    start = _steadiest(speech, length)
    piece = speech[start : start + length].astype(np.float64)
    fade = min(round(0.01 * RATE), length // 4)
    ramp = np.linspace(0, 1, fade)
    piece[:fade] *= ramp
    piece[-fade:] *= ramp[::-1]
    pause = round(generator.choice([0.0, generator.uniform(0.02, 0.4)]) * RATE)
    step = length - fade + pause
    samples = round(seconds * RATE)
    x = np.zeros(samples + length)
    for at in range(0, samples, step):
        x[at : at + length] += piece
    return leveled(x[:samples] + _hiss(samples, generator), generator)


MAKERS: Mapping[str, Maker] = {
    "keypad": keypad,
    "line_tone": line_tone,
    "sweep": sweep,
    "noise": noise,
    "crackle": crackle,
    "hum": hum,
    "music": music,
    "vowel": vowel,
    "singing": singing,
}


def _hiss(samples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    level = 10 ** (generator.uniform(-70, -25) / 20)
    return level * generator.standard_normal(samples)


def _colored(samples: int, slope: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose power falls as 1 / f^slope."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    spectrum /= np.maximum(np.fft.rfftfreq(samples, 1 / RATE), 20.0) ** (slope / 2)
    return np.fft.irfft(spectrum, samples)


def _band(x: NDArray[np.float64], low_hz: float, high_hz: float) -> NDArray[np.float64]:
    high_hz = min(max(high_hz, low_hz * 1.2), 7900.0)
    sections = butterworth(2, [low_hz, high_hz], "bandpass", fs=RATE, output="sos")
    return np.asarray(sosfilt(sections, x))


def _through_formants(
    x: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    longer = generator.uniform(0.85, 1.2)
    centres = (
        generator.uniform(270, 850),
        generator.uniform(850, 2400),
        generator.uniform(2300, 3100),
        generator.uniform(3200, 4000),
    )
    for centre in centres:
        radius = math.exp(-math.pi * generator.uniform(50, 160) / RATE)
        angle = 2 * math.pi * centre * longer / RATE
        x = lfilter([1.0], [1.0, -2 * radius * math.cos(angle), radius**2], x)
    return x


def _repeated(samples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """A gain that lets a held sound through in pieces of 0.1 to 1 s, or whole."""
    if generator.random() < 0.4:
        return np.ones(samples)
    on_s, off_s = generator.uniform(0.1, 1.0), generator.uniform(0.05, 0.5)
    phase = (np.arange(samples) / RATE) % (on_s + off_s)
    edge_s = generator.uniform(0.01, 0.05)
    return np.clip(np.minimum(phase, on_s - phase) / edge_s, 0.0, 1.0)


def _steadiest(speech: Floats, length: int) -> int:
    """Where the loud piece of ``length`` samples begins whose spectrum moves least."""
    step = 320
    starts = range(0, max(len(speech) - length, 1), step)
    levels = [float(np.mean(speech[s : s + length] ** 2)) for s in starts]
    loud = np.argsort(levels)[-max(len(levels) // 5, 1) :]
    best, least = 0, math.inf
    for index in loud:
        start = index * step
        frames = speech[start : start + length]
        frames = frames[: len(frames) // 400 * 400].reshape(-1, 400)
        shapes = np.log(np.abs(np.fft.rfft(frames * np.hanning(400), axis=1)[:, 4:100]) + 1e-4)
        motion = float(np.mean(np.std(shapes, axis=0)))
        if motion < least:
            best, least = int(start), motion
    return best


def _note(pitch: float, seconds: float, timbre: Mapping[str, float]) -> NDArray[np.float64]:
    time = np.arange(max(round(seconds * RATE), 64)) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    attack = np.clip(time / timbre["attack_s"], 0, 1)
    release = np.clip((time[-1] - time) / timbre["release_s"], 0, 1)
    envelope = (
        attack
        * release
        * (timbre["sustain"] + (1 - timbre["sustain"]) * np.exp(-time / timbre["decay_s"]))
    )
    if timbre["kind"] == 1:
        return np.asarray(_plucked(frequency, len(time), timbre) * release)
    vibrato = timbre["vibrato"] * np.sin(2 * np.pi * timbre["vibrato_hz"] * time)
    angle = 2 * np.pi * np.cumsum(frequency * (1 + vibrato)) / RATE
    if timbre["kind"] == 2:
        index = timbre["index"] * np.exp(-time / timbre["decay_s"])
        return np.asarray(envelope * np.sin(angle + index * np.sin(timbre["ratio"] * angle)))
    x = np.zeros(len(time))
    step = 2 if timbre["odd"] > 0.5 else 1
    for k in range(1, int(min(24, 7000 / frequency)) + 1, step):
        stretched = k * math.sqrt(1 + timbre["inharmonic"] * k * k)
        fading = np.exp(-time * k * timbre["dulling"])
        x += fading * np.sin(stretched * angle) / k ** timbre["rolloff"]
    return np.asarray(envelope * x)


def _plucked(frequency: float, samples: int, timbre: Mapping[str, float]) -> NDArray[np.float64]:
    """A string as a delay line with a loss filter (Karplus and Strong, 1983)."""
    delay = max(int(RATE / frequency), 2)
    burst = np.zeros(samples)
    burst[:delay] = np.sin(np.arange(delay) * 12.9898 * timbre["index"] + timbre["ratio"] * 78.2)
    loop = np.zeros(delay + 2)
    loop[0] = 1.0
    loop[delay], loop[delay + 1] = -0.5 * timbre["loss"], -0.5 * timbre["loss"]
    return np.asarray(lfilter([1.0], loop, burst))


def _timbre(generator: np.random.Generator) -> dict[str, float]:
    uniform = generator.uniform
    return {
        "kind": float(generator.integers(0, 3)),
        "attack_s": float(np.exp(uniform(np.log(0.003), np.log(0.3)))),
        "release_s": uniform(0.02, 0.2),
        "decay_s": float(np.exp(uniform(np.log(0.1), np.log(3.0)))),
        "sustain": uniform(0.0, 1.0),
        "vibrato": uniform(0.0, 0.012) * (generator.random() < 0.5),
        "vibrato_hz": uniform(4, 7),
        "index": uniform(0.5, 6.0),
        "ratio": float(generator.choice([0.5, 1.0, 1.41, 2.0, 3.0, 3.5])),
        "odd": generator.random(),
        "inharmonic": 10 ** uniform(-5, -3),
        "dulling": uniform(0.0, 2.0),
        "rolloff": uniform(0.3, 2.0),
        "loss": uniform(0.97, 0.999),
    }


def _played(
    part: str,
    samples: int,
    beat_s: float,
    root: int,
    scale: tuple[int, ...],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    timbre = _timbre(generator)
    octave = {"bass": -12, "melody": 12, "arpeggio": 12, "chords": 0}[part]
    length_s = {"bass": 1.0, "melody": 0.5, "arpeggio": 0.25, "chords": 4.0}[part] * beat_s
    held = generator.uniform(0.5, 1.1)
    x = np.zeros(samples)
    at, degree = 0.0, 0
    while at * RATE < samples:
        own_s = length_s * (generator.choice([0.5, 1, 1, 2]) if part == "melody" else 1)
        degree = int(np.clip(degree + generator.integers(-2, 3), -5, 9))
        degrees = [degree + 2 * k for k in range(generator.integers(3, 5))]
        if part == "arpeggio":
            degrees = [degrees[round(at / length_s) % len(degrees)]]
        elif part != "chords":
            degrees = degrees[:1]
        if generator.random() < 0.9:
            start = round(at * RATE)
            for each in degrees:
                tone = 12 * (each // len(scale)) + scale[each % len(scale)]
                note = _note(root + octave + tone, own_s * held, timbre)[: samples - start]
                x[start : start + len(note)] += note
        at += own_s
    return x


def _drums(samples: int, beat_s: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Kick, snare and hat on a grid of half beats."""
    x = np.zeros(samples)
    chances = generator.uniform(0.1, 1.0, (3, 8))
    time = np.arange(round(0.3 * RATE)) / RATE
    fall_hz = generator.uniform(40, 80)
    kick = np.sin(2 * np.pi * np.cumsum(fall_hz + 100 * np.exp(-time * 30)) / RATE)
    kick *= np.exp(-time * 12)
    for step in range(int(samples / RATE / (beat_s / 2)) + 1):
        start = round(step * beat_s / 2 * RATE)
        hiss = generator.standard_normal(len(time))
        hits = (
            kick,
            0.6 * hiss * np.exp(-time * 20)
            + 0.4 * np.sin(2 * np.pi * 190 * time) * np.exp(-time * 25),
            0.3 * np.diff(hiss, prepend=0.0) * np.exp(-time * 60),
        )
        for row, hit in enumerate(hits):
            if generator.random() < chances[row, step % 8] ** 2:
                x[start : start + len(hit)] += hit[: max(samples - start, 0)]
    return x
