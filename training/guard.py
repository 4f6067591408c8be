"""Fit the speech guard: ``python -m training.guard DATA_DIR -o streamsv/models/guard.json``.

DATA_DIR holds ``train/train.tsv`` and ``noise/noise.tsv``. Speech, clean, in rooms, in noise
and over a telephone, stands against environmental noise and the sounds of `training.sounds`. The
noise of fold k is never under the speech of another fold, and each fold is judged by a network that
has not heard it.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from torch.nn import functional as F

from streamsv.audio import SAMPLE_RATE, Speech, SpeechGate
from streamsv.audio.formats import AudioFormat, Decoder, Encoding, encode_mulaw
from streamsv.audio.likeness import MEASURES, STEP_SAMPLES, LikenessMeter
from streamsv.engine.guard import SpeechJudge
from training import sounds

Floats = NDArray[np.float32]

FOLDS = 5
HIDDEN = 16
EPOCHS = 40
_CLIP_S = 10
_FILES_A_SOURCE = 170
_SYNTHESIZED = {
    "keypad": 60,
    "line_tone": 80,
    "sweep": 60,
    "noise": 120,
    "crackle": 80,
    "hum": 60,
    "music": 400,
    "vowel": 150,
}


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One clip: ``kind`` ("speech" or what else), its ``fold``, measures (steps, measures)."""

    kind: str
    fold: int
    measures: NDArray[np.float64]


def read(path: Path) -> Floats:
    """One recording, its first track, at 16 kHz."""
    pcm, rate = soundfile.read(path, dtype="float32", always_2d=True)
    first = pcm[:, 0]
    return np.asarray(
        first if rate == SAMPLE_RATE else soxr.resample(first, rate, SAMPLE_RATE), np.float32
    )


def over_telephone(pcm: Floats) -> Floats:
    """Through 8 kHz mu-law and back."""
    line = encode_mulaw(soxr.resample(np.clip(pcm, -1, 1), SAMPLE_RATE, 8_000))
    decoded = Decoder(AudioFormat(Encoding.MULAW, 8_000)).decode(line)
    return np.asarray(soxr.resample(decoded, 8_000, SAMPLE_RATE), np.float32)


def measured(pcm: Floats) -> NDArray[np.float64]:
    """The measures of what passes the gate, step by step: (steps, measures)."""
    admitted = [part.pcm for part in SpeechGate().push(pcm) if isinstance(part, Speech)]
    heard = np.concatenate([np.zeros(0, np.float32), *admitted])
    steps = heard[: len(heard) // STEP_SAMPLES * STEP_SAMPLES].reshape(-1, STEP_SAMPLES)
    meter = LikenessMeter()
    return np.array([meter.measure(step) for step in steps]).reshape(len(steps), MEASURES)


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def noise_examples(
    data: Path, generator: np.random.Generator
) -> tuple[list[Example], list[tuple[int, Floats]]]:
    """Every noise, played for ten seconds, as it is and over a telephone; and the sounds."""
    examples, recorded = [], []
    for row in _rows(data / "noise" / "noise.tsv"):
        if row["kind"] != "noise":
            continue
        pcm = read(data / "noise" / row["path"])[: 2 * _CLIP_S * SAMPLE_RATE]
        found = re.search(r"_([1-5])-\d", row["path"])
        fold = int(found.group(1)) - 1 if found else int(generator.integers(FOLDS))
        kind = re.search(r"_-_(\w+?)_\d-", row["path"])
        name = "noise: " + (kind.group(1).lower().replace("_", " ") if kind else "other")
        recorded.append((fold, pcm))
        played = np.resize(pcm, max(len(pcm), _CLIP_S * SAMPLE_RATE))
        examples.append(Example(name, fold, measured(played)))
        examples.append(Example(name, fold, measured(over_telephone(played))))
    return examples, recorded


def speech_examples(
    data: Path, recorded: Sequence[tuple[int, Floats]], generator: np.random.Generator
) -> list[Example]:
    """Training voices, damaged as calls are; and one steady piece of every third, looped."""
    rooms = [
        read(data / "noise" / row["path"])
        for row in _rows(data / "noise" / "noise.tsv")
        if row["kind"] == "room"
    ]
    sources = defaultdict(list)
    for row in _rows(data / "train" / "train.tsv"):
        sources[row["source"]].append(row["path"])
    examples = []
    for paths in sources.values():
        count = min(len(paths), _FILES_A_SOURCE)
        for number, index in enumerate(generator.choice(len(paths), count, replace=False)):
            pcm = read(data / "train" / paths[index])[: 12 * SAMPLE_RATE]
            if len(pcm) < 1.5 * SAMPLE_RATE:
                continue
            fold = int(generator.integers(FOLDS))
            if number % 3 == 0:
                loop = sounds.looped(8, pcm, generator)
                loop = over_telephone(loop) if generator.random() < 0.4 else loop
                examples.append(Example("looped vowel", fold, measured(loop)))
            voice = np.resize(pcm, max(len(pcm), 4 * SAMPLE_RATE))
            if generator.random() < 0.25:
                room = rooms[generator.integers(len(rooms))]
                voice = fftconvolve(voice, room)[: len(voice)]
            if generator.random() < 0.45:
                voice = _in_noise(voice, fold, recorded, generator)
            voice = sounds.leveled(voice, generator)
            voice = over_telephone(voice) if generator.random() < 0.4 else voice
            examples.append(Example("speech", fold, measured(voice)))
    return examples


def _in_noise(
    voice: Floats,
    fold: int,
    recorded: Sequence[tuple[int, Floats]],
    generator: np.random.Generator,
) -> Floats:
    """``voice`` 3 to 20 dB above a noise of its own fold."""
    of_fold = [pcm for each, pcm in recorded if each == fold]
    noise = np.resize(of_fold[generator.integers(len(of_fold))], len(voice))
    gain = 10 ** (-generator.uniform(3, 20) / 20)
    power = np.mean(voice**2) / max(float(np.mean(noise**2)), 1e-9)
    return np.asarray(voice + noise * gain * np.sqrt(power), np.float32)


def synthesized_examples(generator: np.random.Generator) -> list[Example]:
    """The makers of `training.sounds`, so many of each."""
    examples = []
    for name, count in _SYNTHESIZED.items():
        for number in range(count):
            pcm = sounds.MAKERS[name](_CLIP_S, generator)
            pcm = over_telephone(pcm) if generator.random() < 0.4 else pcm
            examples.append(Example(name, number % FOLDS, measured(pcm)))
    return examples


def fit(examples: Sequence[Example], seed: int = 0) -> SpeechJudge:
    """A network by AdamW on cross-entropy; speech and the rest weigh the same.

    Among the rest a kind weighs by the root of its steps, so that a rare kind is not drowned.
    """
    kinds: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for example in examples:
        if len(example.measures):
            kinds[example.kind].append(example.measures)
    x = np.concatenate([row for rows in kinds.values() for row in rows])
    sizes = {kind: sum(map(len, rows)) for kind, rows in kinds.items()}
    rest = sum(np.sqrt(size) for kind, size in sizes.items() if kind != "speech")
    total = len(x)
    weights, labels = [], []
    for kind, size in sizes.items():
        share = 0.5 if kind == "speech" else 0.5 * np.sqrt(size) / rest
        weights.append(np.full(size, share * total / size))
        labels.append(np.full(size, float(kind == "speech")))
    center, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    standard = torch.tensor(np.clip((x - center) / scale, -6, 6), dtype=torch.float32)
    weight = torch.tensor(np.concatenate(weights), dtype=torch.float32)
    label = torch.tensor(np.concatenate(labels), dtype=torch.float32)
    torch.manual_seed(seed)
    inward, outward = torch.nn.Linear(MEASURES, HIDDEN), torch.nn.Linear(HIDDEN, 1)
    parameters = [*inward.parameters(), *outward.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.01)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(total), 4096):
            logit = outward(torch.tanh(inward(standard[rows])))[:, 0]
            loss = F.binary_cross_entropy_with_logits(logit, label[rows], weight[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return SpeechJudge(
        center,
        scale,
        inward.weight.detach().numpy().astype(np.float64),
        inward.bias.detach().numpy().astype(np.float64),
        outward.weight.detach().numpy()[0].astype(np.float64),
        float(outward.bias.detach()[0]),
    )


def cross_validated(examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """By kind, what networks make of folds that they have not heard.

    ``clips``, and the share of them whose mean logit is at least 0.75, as percent.
    """
    means: dict[str, list[float]] = defaultdict(list)
    for fold in range(FOLDS):
        judge = fit([example for example in examples if example.fold != fold])
        for example in examples:
            if example.fold == fold:
                logits = [judge.logit(row) for row in example.measures]
                means[example.kind].append(float(np.mean(logits)) if logits else -4.0)
    return {
        kind: {
            "clips": len(values),
            "pass_percent": round(100 * float(np.mean(np.array(values) >= 0.75)), 1),
        }
        for kind, values in sorted(means.items())
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the clips, judge each fold by the others, fit on all and write the guard."""
    parser = argparse.ArgumentParser(prog="python -m training.guard", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    generator = np.random.default_rng(chosen.seed)
    torch.set_num_threads(1)
    examples, recorded = noise_examples(chosen.data, generator)
    examples += speech_examples(chosen.data, recorded, generator)
    examples += synthesized_examples(generator)
    found = cross_validated(examples)
    for kind, numbers in found.items():
        line = f"{kind:24s} {numbers['clips']:5.0f} clips, {numbers['pass_percent']:5.1f} % pass"
        print(line, flush=True)  # noqa: T201
    judge = fit(examples)
    judge.fitted_on.update({"method": "python -m training.guard", "cross_validated": found})
    judge.save(chosen.output)


if __name__ == "__main__":
    main()
