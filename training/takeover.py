"""Fit the takeover watch: ``python -m training.takeover MODEL SET_DIR... -o FILE``.

FILE is MODEL's name with ``.takeover.npz``; the engine finds it there. Calls are spliced from the
tests of two people of one set, 6 to 20 s of the one who is enrolled and up to 15 s of another; the
threshold is the highest that gives at most so many false alarms an hour. It is reported on people
who were not fitted on: five folds, by the speaker who is enrolled. How much of a call's own
likeness is taken off is not fitted, since the few false alarms there are make a poor judge of it:
what other shares do is printed beside the one that is used.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE, Speech, SpeechGate
from streamsv.encoder import Encoder
from streamsv.errors import EvaluationSetError
from streamsv.evaluation.sets import EvaluationSet, load_set
from streamsv.scoring.takeover import (
    STATE,
    STEP_HOPS,
    USUAL_LOOKS,
    WINDOW_STEPS,
    OwnVoice,
    TakeoverModel,
)
from training.guard_clips import read

Floats = NDArray[np.float32]

FOLDS = 5
ACCEPTED_S = 3.0
"""Net speech after which the watch begins, as after an early verdict."""

OWN_SHARE = 0.6
SHARES = (0.0, 0.3, OWN_SHARE, 0.9)
"""Shares of a call's own likeness that are shown beside each other."""

_SPLICES = 2
_BATCH = 48
_LONGEST_HOPS = 750


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Hops (hops, samples) of a call; ``change`` is the hop at which another voice begins."""

    speaker: str
    hops: Floats
    change: float | None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A call as the watch hears it, a value for each look.

    Fields
    ------
    hops: hops heard.
    likeness: mean of the cosines of the window with the voiceprint and with the call before it.
    own, own_looks: sum and number of the likenesses whose windows ended before this one began.
    change: the hop at which another voice begins; ``length`` in hops.
    """

    speaker: str
    hops: NDArray[np.int64]
    likeness: NDArray[np.float64]
    own: NDArray[np.float64]
    own_looks: NDArray[np.float64]
    change: float | None
    length: int

    @property
    def is_own(self) -> NDArray[np.bool_]:
        """Looks at which nobody else has spoken, (looks,)."""
        return np.asarray(self.hops <= (self.length if self.change is None else self.change))

    def scores(self, rule: Rule) -> NDArray[np.float64]:
        """What ``rule`` compares with its threshold, (looks,)."""
        own = (self.own + USUAL_LOOKS * rule.usual) / (self.own_looks + USUAL_LOOKS)
        return self.likeness - rule.own_share * own


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What is fitted; see `TakeoverModel`."""

    threshold: float
    own_share: float
    usual: float


def last_layer(path: Path) -> tuple[Floats, Floats]:
    """Weight (2 channels, dimension) and bias of the layer that makes the embedding.

    Raises EvaluationSetError when the graph has none that is found by its name.
    """
    graph = onnx.load(str(path)).graph
    for node in graph.node:
        biases = [name for name in node.input if name.endswith("embed.bias")]
        if node.op_type == "Gemm" and biases:
            weight = _constant(graph, node.input[1])
            is_transposed = any(a.name == "transB" and a.i for a in node.attribute)
            return (weight.T if is_transposed else weight), _constant(graph, biases[0])
        if node.op_type == "Add" and biases:
            product = next(name for name in node.input if name not in biases)
            source = next(each for each in graph.node if product in each.output)
            return _constant(graph, source.input[1]), _constant(graph, biases[0])
    raise EvaluationSetError(f"{path} has no layer called embed; export the model again.")


def _constant(graph: onnx.GraphProto, name: str) -> Floats:
    """A constant by its name; of a quantized one, what its integers stand for."""
    constants = {each.name: each for each in graph.initializer}
    if name in constants:
        return np.asarray(onnx.numpy_helper.to_array(constants[name]), np.float32)
    source = next(node for node in graph.node if name in node.output)
    values, scale, zero = (onnx.numpy_helper.to_array(constants[each]) for each in source.input)
    axis = next((a.i for a in source.attribute if a.name == "axis"), 1)
    if scale.ndim:
        along = [-1 if place == axis % values.ndim else 1 for place in range(values.ndim)]
        scale, zero = scale.reshape(along), zero.reshape(along)
    return np.asarray((values.astype(np.float32) - zero) * scale, np.float32)


def calls_of(
    sets: Sequence[EvaluationSet], encoder: Encoder, generator: np.random.Generator
) -> tuple[dict[str, Floats], list[Call]]:
    """The enrollment of each speaker, in hops, and the calls: whole ones and spliced ones."""
    enrolled, calls = {}, []
    for each in sets:
        heard = {name: _gated(stream.path) for name, stream in each.streams.items()}
        enrolls = {name for trial in each.trials for name in trial.enroll}
        own: dict[str, list[Floats]] = defaultdict(list)
        voices: dict[str, Floats] = {}
        for name, stream in each.streams.items():
            if name not in enrolls:
                own[stream.speaker].append(heard[name])
            elif stream.speaker not in voices:
                voices[stream.speaker] = heard[name]
        for speaker in sorted(own.keys() & voices.keys()):
            key = f"{each.name}/{speaker}"
            enrolled[key] = _hops(voices[speaker], encoder)
            whole = np.concatenate(own[speaker])
            calls.append(Call(key, _hops(whole, encoder)[:_LONGEST_HOPS], None))
            others = sorted(own.keys() - {speaker})
            for other in generator.choice(others, min(_SPLICES, len(others)), replace=False):
                first = whole[: round(generator.uniform(6, 20) * SAMPLE_RATE)]
                second = np.concatenate(own[str(other)])[: 15 * SAMPLE_RATE]
                if len(first) < 5 * SAMPLE_RATE or len(second) < 8 * SAMPLE_RATE:
                    continue
                spliced = _hops(np.concatenate([first, second]), encoder)
                calls.append(Call(key, spliced, len(first) / encoder.hop_samples))
    return enrolled, calls


def _gated(path: Path) -> Floats:
    admitted = [part.pcm for part in SpeechGate().push(read(path)) if isinstance(part, Speech)]
    return np.concatenate([np.zeros(0, np.float32), *admitted])


def _hops(pcm: Floats, encoder: Encoder) -> Floats:
    return pcm[: len(pcm) // encoder.hop_samples * encoder.hop_samples].reshape(
        -1, encoder.hop_samples
    )


def heard_paths(
    encoder: Encoder, model: TakeoverModel, enrolled: dict[str, Floats], calls: Sequence[Call]
) -> list[Heard]:
    """Every call through the network, many side by side, and the scores of its looks."""
    names = sorted(enrolled)
    ends = _heard(encoder, [enrolled[name] for name in names], None)
    voices = {name: found[-1][0] for name, found in zip(names, ends, strict=True) if found}
    accepted = round(ACCEPTED_S * SAMPLE_RATE / encoder.hop_samples)
    paths = []
    for call, looks in zip(calls, _heard(encoder, [c.hops for c in calls], STEP_HOPS), strict=True):
        own = OwnVoice()
        looked: list[tuple[float, float, float, float]] = []
        for index in range(WINDOW_STEPS, len(looks)):
            (_, now), (before, then) = looks[index], looks[index - WINDOW_STEPS]
            if (index - WINDOW_STEPS + 1) * STEP_HOPS < accepted or call.speaker not in voices:
                continue
            window = model.embedding(now, then)
            likeness = float(window @ voices[call.speaker] + window @ before) / 2
            own.next_look()
            looked.append(((index + 1) * STEP_HOPS, likeness, own.total, own.looks))
            own.add(likeness)
        if looked:
            hops, likenesses, totals, counts = np.array(looked, dtype=np.float64).T
            paths.append(
                Heard(
                    call.speaker,
                    hops.astype(np.int64),
                    likenesses,
                    totals,
                    counts,
                    call.change,
                    len(call.hops),
                )
            )
    return paths


def _heard(
    encoder: Encoder, streams: Sequence[Floats], every: int | None
) -> list[list[tuple[Floats, dict[str, Floats]]]]:
    """Embedding and moments at each ``every`` hops, or at the end alone."""
    found: list[list[tuple[Floats, dict[str, Floats]]]] = [[] for _ in streams]
    order = sorted(range(len(streams)), key=lambda index: len(streams[index]))
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        longest = max(len(streams[row]) for row in rows)
        pcm = np.zeros((len(rows), longest, encoder.hop_samples), np.float32)
        for place, row in enumerate(rows):
            pcm[place, : len(streams[row])] = streams[row]
        state = encoder.initial_state(len(rows))
        for hop in range(longest):
            embeddings, state = encoder.step(pcm[:, hop], state)
            for place, row in enumerate(rows):
                length = len(streams[row])
                is_due = hop + 1 == length if every is None else (hop + 1) % every == 0
                if is_due and hop < length:
                    moments = {n: state[k][place].reshape(-1).copy() for n, k in STATE.items()}
                    found[row].append((embeddings[place].copy(), moments))
    return found


def judged(paths: Sequence[Heard], rule: Rule, hop_s: float) -> dict[str, Any]:
    """False alarms, the hours they fell in, changes, those missed, and the delays in seconds."""
    alarms, hours, changes, missed = 0, 0.0, 0, 0
    delays = []
    for path in paths:
        below = np.flatnonzero(path.scores(rule) < rule.threshold)
        first = path.hops[below[0]] if len(below) else None
        change = path.change
        own_end = path.length if change is None else min(change, path.length)
        is_false = first is not None and (change is None or first <= change)
        alarms += int(is_false)
        hours += (int(first) if is_false and first is not None else own_end) * hop_s / 3600
        if change is None or is_false:
            continue
        changes += 1
        missed += first is None
        if first is not None:
            delays.append((float(first) - change) * hop_s)
    return {
        "alarms": alarms,
        "hours": hours,
        "changes": changes,
        "missed": missed,
        "delays": delays,
    }


def fitted_rule(
    paths: Sequence[Heard], alarms_per_hour: float, hop_s: float, own_share: float = OWN_SHARE
) -> Rule:
    """The rule with the highest threshold that gives at most so many false alarms an hour."""
    usual = float(np.mean(np.concatenate([path.likeness[path.is_own] for path in paths])))
    own_hops = sum(path.length if path.change is None else path.change for path in paths)
    allowed = int(alarms_per_hour * own_hops * hop_s / 3600)
    rule = Rule(0.0, own_share, usual)
    # A call gives a false alarm when the lowest score of its own voice is below the threshold.
    own = [path.scores(rule)[path.is_own] for path in paths if path.is_own.any()]
    lowest = np.sort([scores.min() for scores in own])
    # With fewer calls than alarms allowed, all but one may give one.
    return dataclasses.replace(rule, threshold=float(lowest[min(allowed, len(lowest) - 1)]))


def cross_validated(
    paths: Sequence[Heard], alarms_per_hour: float, hop_s: float, own_share: float = OWN_SHARE
) -> dict[str, Any]:
    """What thresholds of other people do: the counts of all folds together, by set too."""
    speakers = sorted({path.speaker for path in paths})
    fold_of = {speaker: number % FOLDS for number, speaker in enumerate(speakers)}
    found: dict[str, dict[str, Any]] = {}
    for fold in range(FOLDS):
        others = [path for path in paths if fold_of[path.speaker] != fold]
        rule = fitted_rule(others, alarms_per_hour, hop_s, own_share)
        for path in paths:
            if fold_of[path.speaker] != fold:
                continue
            one = judged([path], rule, hop_s)
            for name in ("all", path.speaker.split("/")[0]):
                if name not in found:
                    found[name] = one | {"delays": list(one["delays"])}
                else:
                    found[name] = {key: found[name][key] + one[key] for key in one}
    return {name: _described(counts) for name, counts in found.items()}


def _described(found: dict[str, Any]) -> dict[str, Any]:
    delays = found["delays"]
    return {
        "false_alarms": int(found["alarms"]),
        "hours": round(float(found["hours"]), 2),
        "false_alarms_per_hour": round(float(found["alarms"] / max(found["hours"], 1e-9)), 2),
        "changes": found["changes"],
        "missed": int(found["missed"]),
        "miss_percent": round(float(100 * found["missed"] / max(found["changes"], 1)), 1),
        "delay_s": {
            f"p{q}": round(float(np.percentile(delays, q)), 1) if delays else None
            for q in (10, 50, 90)
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Splice, hear, report out of fold, fit on all and write."""
    parser = argparse.ArgumentParser(prog="python -m training.takeover", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--alarms-per-hour", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    encoder = Encoder(chosen.model)
    hop_s = encoder.hop_samples / SAMPLE_RATE
    weight, bias = last_layer(chosen.model)
    model = TakeoverModel(encoder.fingerprint, weight, bias, 0.0, 0.0)
    sets = [load_set(folder) for folder in chosen.sets]
    enrolled, calls = calls_of(sets, encoder, np.random.default_rng(chosen.seed))
    paths = heard_paths(encoder, model, enrolled, calls)
    for share in SHARES:
        found = cross_validated(paths, chosen.alarms_per_hour, hop_s, share)["all"]
        print(f"share {share:g}:", found, flush=True)  # noqa: T201
    report = cross_validated(paths, chosen.alarms_per_hour, hop_s)
    for name, numbers in report.items():
        print(name, numbers, flush=True)  # noqa: T201
    rule = fitted_rule(paths, chosen.alarms_per_hour, hop_s)
    delays = judged(paths, rule, hop_s)["delays"]
    fitted_on = {
        "method": "python -m training.takeover",
        "sets": [each.name for each in sets],
        "alarms_per_hour": chosen.alarms_per_hour,
        "cross_validated": report,
    }
    dataclasses.replace(
        model,
        threshold=rule.threshold,
        own_share=rule.own_share,
        usual=rule.usual,
        lag_s=float(np.median(delays)) if delays else 0.0,
        fitted_on=fitted_on,
    ).save(chosen.output)


if __name__ == "__main__":
    main()
