"""Published verification protocols: a list of trials, files below folders, EER and minDCF.

Lists as they are published, one trial a line:

- VoxCeleb1-O/E/H, VoxSRC, VCMix: ``1 id10270/x6uYqmx31kE/00001.wav id10270/8jEAjG6SegY/00008.wav``,
  1 or ``target`` for one voice, 0 or ``nontarget`` for two;
- VOiCES and NIST: ``model test target``, also ``tgt`` and ``imp``, the models in a list of their
  own, ``model file``, a line for each file.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from streamsv.errors import EvaluationSetError
from streamsv.nn.config import HOP_SAMPLES
from streamsv.scoring.metrics import eer, min_dcf
from training.checkpoint import load_checkpoint, load_network
from training.networks import Network, PaperNetwork
from training.sound import read_stretch

Floats = NDArray[np.float32]
_LABELS = {"1": 1, "0": 0, "target": 1, "nontarget": 0, "tgt": 1, "imp": 0, "non": 0}
_LONGEST_S = 3600
CROP_SAMPLES = 48_000


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """``enroll`` is a file or a model of a list, ``test`` a file."""

    enroll: str
    test: str
    is_target: bool


def read_trials(path: Path) -> list[Trial]:
    """Read a list of trials, the label in the first or in the last of three fields.

    Raises EvaluationSetError naming file and line.
    """
    trials = []
    for number, fields in _lines(path, 3):
        if fields[0] in _LABELS:
            label, enroll, test = fields
        else:
            enroll, test, label = fields
        if label not in _LABELS:
            raise EvaluationSetError(
                f"{path}, line {number}: neither {fields[0]!r} nor {label!r} says whether this is "
                f"a target trial; allowed are {', '.join(_LABELS)}.",
                label,
            )
        trials.append(Trial(enroll, test, bool(_LABELS[label])))
    return trials


def read_models(path: Path) -> dict[str, list[str]]:
    """Read a list of enrollment models, ``model file`` a line: the files of each model."""
    models: dict[str, list[str]] = {}
    for _, (model, file) in _lines(path, 2):
        models.setdefault(model, []).append(file)
    return models


def _lines(path: Path, fields: int) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationSetError(f"The list {path} cannot be read: {error}", str(path)) from error
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if len(line.split()) != fields:
            raise EvaluationSetError(
                f"{path}, line {number} has {len(line.split())} fields, not {fields}.", line
            )
        found.append((number, line.split()))
    if not found:
        raise EvaluationSetError(f"{path} is empty.", str(path))
    return found


def crops_of(pcm: Floats, samples: int, count: int) -> Floats:
    """``count`` crops (count, samples) at even distances, the last one at the end.

    A shorter clip is repeated until it fills one, as in the paper's scoring.
    """
    if len(pcm) < samples:
        pcm = np.resize(pcm, samples)
    starts = np.linspace(0, len(pcm) - samples, count).astype(int)
    return np.stack([pcm[start : start + samples] for start in starts])


def embedder(network: Network, crops: int) -> Callable[[Floats], Floats]:
    """What makes one vector (d,) of a clip: the mean of the unit embeddings of its crops.

    The product of two such vectors is the mean of all cosines between the crops of two clips: a
    hundred for ten crops. A crop is 3 s; that of a network that hears whole hops is 37 of them,
    2.96 s. ``crops`` 0 hears the whole clip at once, which the paper's network cannot.
    """
    device = next(network.parameters()).device
    if crops == 0 and isinstance(network, PaperNetwork):
        raise EvaluationSetError(
            "The paper's student hears clips of one length only: ask for crops.", crops
        )
    length = network.samples(CROP_SAMPLES // HOP_SAMPLES + 1)
    if not isinstance(network, PaperNetwork):
        length = CROP_SAMPLES // HOP_SAMPLES * HOP_SAMPLES

    def embed(pcm: Floats) -> Floats:
        whole = max(1, len(pcm) // HOP_SAMPLES) * HOP_SAMPLES
        pieces = crops_of(pcm, length, crops) if crops else crops_of(pcm, whole, 1)
        with torch.inference_mode():
            embeddings, _ = network(torch.from_numpy(pieces).to(device))
            units = F.normalize(embeddings[:, -1].float(), dim=1)
        return np.asarray(units.mean(dim=0).cpu().numpy(), np.float32)

    return embed


def evaluate(
    embed: Callable[[Floats], Floats],
    trials: Sequence[Trial],
    roots: Sequence[Path],
    models: dict[str, list[str]] | None = None,
) -> dict[str, float]:
    """EER in %, minDCF at a target prior of 0.01 and of 0.05, and how many trials.

    Files are looked for below ``roots``, in order. Raises EvaluationSetError, before anything is
    heard, for one that is nowhere, or for trials of one kind only.
    """
    models = models or {}
    for wanted, kind in ((True, "target"), (False, "impostor")):
        if all(trial.is_target is not wanted for trial in trials):
            raise EvaluationSetError(f"The list has no {kind} trials; error rates need both.", kind)
    names = sorted({name for trial in trials for name in (trial.enroll, trial.test)})
    files = [[_found(file, roots) for file in models.get(name, [name])] for name in names]
    vectors = []
    for paths in files:
        heard = [embed(read_stretch(path, 0.0, _LONGEST_S * 16_000)) for path in paths]
        vectors.append(np.mean(heard, axis=0))
    place = {name: number for number, name in enumerate(names)}
    matrix = np.stack(vectors)
    enroll = matrix[[place[trial.enroll] for trial in trials]]
    test = matrix[[place[trial.test] for trial in trials]]
    scores = np.einsum("td,td->t", enroll, test)
    is_target = np.array([trial.is_target for trial in trials])
    targets, impostors = scores[is_target], scores[~is_target]
    return {
        "eer_percent": round(100 * eer(targets, impostors), 3),
        "min_dcf_01": round(min_dcf(targets, impostors, 0.01), 4),
        "min_dcf_05": round(min_dcf(targets, impostors, 0.05), 4),
        "targets": len(targets),
        "impostors": len(impostors),
    }


def _found(name: str, roots: Sequence[Path]) -> Path:
    for root in roots:
        if (root / name).is_file():
            return root / name
    raise EvaluationSetError(f"There is no file {name} below {' or '.join(map(str, roots))}.", name)


def result_row(
    checkpoint: Path,
    trials: Path,
    roots: Sequence[Path],
    crops: int,
    models: Path | None = None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint; the result with all that it depends on, ready for a JSON line."""
    content = load_checkpoint(checkpoint)
    config = content["config"]
    network = load_network(checkpoint).to(device or torch.device("cpu"))
    listed = read_models(models) if models else None
    measured = evaluate(embedder(network, crops), read_trials(trials), roots, listed)
    return {
        "config": config["name"],
        "commit": commit(),
        "seed": config["seed"],
        "teacher": config["teacher"]["path"],
        "start_from": config.get("start_from"),
        "data": config["data"].get("corpora") or config["data"]["clips"],
        "steps": content["step"],
        "trials": trials.name,
        "crops": crops,
    } | measured


def commit() -> str:
    """The commit of the code that runs, with ``+`` if files are changed; else ``unknown``."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a result to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
