"""``python -m training STAGE CONFIG``: prepare, train, discriminate, export, quantize, calibrate,
evaluate, score, ablate.

Each stage reads the same configuration and leaves its result where the next one looks for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from streamsv.errors import StreamsvError
from training.config import TrainConfig, load_config

STAGES = (
    *("prepare", "train", "discriminate", "export", "quantize"),
    *("calibrate", "evaluate", "score", "ablate"),
)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def prepare_stage(config: TrainConfig) -> None:
    """Gate every clip in every voice and let the teacher hear it: the cache."""
    from training.distributed import join
    from training.feed import clips_of
    from training.prepare import prepare_clips, voices_of
    from training.provenance import provenance_of
    from training.teachers import load_teacher

    clips = [dataclasses.replace(clip, path=clip.path.absolute()) for clip in clips_of(config)]
    root = Path(os.path.commonpath([clip.path.parent for clip in clips]))
    data = config.data
    teacher = load_teacher(config.teacher, config.threads, join(config.device).device)
    voices, provenance = voices_of(data.speeds, data.warps), provenance_of(data, config.teacher)
    prepare_clips(clips, root, teacher, Path(data.cache), voices, provenance)


def train_stage(config: TrainConfig) -> None:
    """Train, or go on from the last checkpoint."""
    from training.loop import train

    train(config, _say)


def discriminate_stage(config: TrainConfig) -> None:
    """Fit the last layer to tell the training voices apart; kept beside the trained one.

    A run that goes on from the checkpoint goes on with the trained layer.
    """
    from training.checkpoint import load_checkpoint, save_checkpoint
    from training.discriminant import discriminate

    layer = discriminate(config)
    checkpoint = config.folder / "checkpoint.pt"
    content = load_checkpoint(checkpoint)
    content["last_layer"] = {"embed.weight": layer.weight, "embed.bias": layer.bias}
    save_checkpoint(checkpoint, content)
    _say(f"{checkpoint}: the last layer tells voices apart")


def export_stage(config: TrainConfig, output: Path | None, head: Path | None) -> None:
    """Write the averaged weights of the checkpoint as one ONNX file, with a speech head if any."""
    from streamsv.nn.export import export
    from streamsv.nn.guard import load_head
    from streamsv.nn.macs import macs_per_hop
    from training.checkpoint import load_checkpoint, load_student

    checkpoint = config.folder / "checkpoint.pt"
    student, content = load_student(checkpoint), load_checkpoint(checkpoint)
    card = {
        "config": config.name,
        "seed": config.seed,
        "teacher": Path(config.teacher.path).stem or None,
        "start_from": config.start_from,
        "data": sorted(config.data.corpora) or "/".join(Path(config.data.clips).parts[-2:]),
        "steps": content["step"],
        "audio_hours_heard": round(content["seconds"] / 3600, 1),
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "macs_per_hop": macs_per_hop(student),
    }
    speech_head = load_head(head) if head else None
    exported = export(student, output or model_path(config), card, speech_head)
    _say(f"{exported.path}: fingerprint {exported.fingerprint}")


def quantize_stage(config: TrainConfig, output: Path | None) -> None:
    """Rewrite the exported model with products of 8-bit integers, scaled by training voices."""
    from training.quantization import quantize_trained

    exported = quantize_trained(config, output or model_path(config))
    _say(f"{exported.path}: int8, fingerprint {exported.fingerprint}")


def calibrate_stage(
    config: TrainConfig,
    output: Path | None,
    sets: Sequence[Path],
    cache: Path | None,
    talk_on: bool,
) -> None:
    """Fit the calibration of the exported model on evaluation sets, and write it beside it.

    With several sets each is also left out in turn; what it says then is printed and kept.
    """
    from streamsv.encoder import Encoder
    from streamsv.evaluation.refit import fit_with
    from streamsv.evaluation.sets import load_set
    from streamsv.evaluation.tables import (
        patience_table,
        unseen_calls_table,
        unseen_evidence_table,
    )
    from streamsv.evaluation.tracks import TrackReader

    model = output or model_path(config)
    found = fit_with(
        TrackReader(Encoder(model), cache=cache),
        [load_set(folder) for folder in sets],
        leave_out=len(sets) > 1,
        talk_on=talk_on,
    )
    calibration = found.fitted.calibration
    target = model.with_suffix(".calibration.json")
    calibration.save(target)
    _say(f"{target}: fitted on {', '.join(folder.name for folder in sets)}")
    if found.unseen is not None:
        left_out = found.unseen.to_dict()
        _say(unseen_evidence_table(left_out).markdown())
        _say(unseen_calls_table(left_out).markdown())
    if found.patience:
        _say(patience_table([each.to_dict() for each in found.patience]).markdown())


def score_stage(config: TrainConfig, sets: Sequence[Path]) -> None:
    """Error rates of the checkpoint on evaluation sets, to choose by; in percent."""
    from streamsv.evaluation.sets import load_set
    from training.checkpoint import load_student
    from training.devsets import POINTS, as_text, error_rates

    student = load_student(config.folder / "checkpoint.pt")
    table = error_rates(student, [load_set(folder) for folder in sets])
    points = "  ".join("whole" if point is None else f"{point:g} s" for point in POINTS)
    _say(f"equal error rate in % after {points}")
    _say(as_text(table))


def evaluate_stage(
    config: TrainConfig, trials: Path, roots: Sequence[Path], crops: int, models: Path | None
) -> None:
    """Score a published list of trials; the row is printed and added to ``results.jsonl``."""
    from training.distributed import join
    from training.protocols import append_row, result_row

    checkpoint = config.folder / "checkpoint.pt"
    row = result_row(checkpoint, trials, roots, crops, models, join(config.device).device)
    append_row(config.folder / "results.jsonl", row)
    _say(json.dumps(row))


def model_path(config: TrainConfig) -> Path:
    """Where ``export`` writes by default."""
    return config.folder / "model.onnx"


def main() -> int:
    """Parse, call, and turn a named error into a sentence."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "stage",
        choices=STAGES,
    )
    parser.add_argument("config", type=Path, help="a YAML file such as configs/train/default.yaml")
    parser.add_argument(
        "sets",
        type=Path,
        nargs="*",
        help="calibrate, score: evaluation sets; evaluate: a list of trials, then the folders "
        "that its files are below",
    )
    parser.add_argument(
        "--output", type=Path, help="the ONNX file to write, to quantize, or to calibrate"
    )
    parser.add_argument(
        "--head", type=Path, help="export: the speech head, from python -m training.guard"
    )
    parser.add_argument(
        "--crops", type=int, default=0, help="evaluate: crops of 3 s a file; 0, the whole file"
    )
    parser.add_argument(
        "--cache", type=Path, help="calibrate: a folder that keeps what was heard for another fit"
    )
    parser.add_argument(
        "--talk-on",
        action="store_true",
        help="calibrate: also let every stranger talk for three minutes",
    )
    parser.add_argument("--models", type=Path, help="evaluate: the list of enrollment models")
    parser.add_argument(
        "--part",
        type=int,
        nargs=2,
        default=(1, 1),
        metavar=("I", "N"),
        help="ablate: take the variants of process I of N",
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.part[0] <= arguments.part[1]:
        parser.error("--part takes the process and how many there are, such as 1 2")
    wanted = {"calibrate": 1, "evaluate": 2, "score": 1}.get(arguments.stage, 0)
    if len(arguments.sets) < wanted or (arguments.sets and not wanted):
        parser.error(
            "calibrate and score take one or more set folders, evaluate a list and one or more "
            "folders, the other stages none"
        )
    try:
        if arguments.stage == "ablate":
            from training.ablation import ablate, as_markdown

            results = ablate(arguments.config, _say, *arguments.part)
            _say(f"{results}\n{as_markdown(results)}")
            return 0
        config = load_config(arguments.config)
        if arguments.stage == "prepare":
            prepare_stage(config)
        elif arguments.stage == "train":
            train_stage(config)
        elif arguments.stage == "discriminate":
            discriminate_stage(config)
        elif arguments.stage == "export":
            export_stage(config, arguments.output, arguments.head)
        elif arguments.stage == "quantize":
            quantize_stage(config, arguments.output)
        elif arguments.stage == "score":
            score_stage(config, arguments.sets)
        elif arguments.stage == "calibrate":
            calibrate_stage(
                config, arguments.output, arguments.sets, arguments.cache, arguments.talk_on
            )
        else:
            trials, *roots = arguments.sets
            evaluate_stage(config, trials, roots, arguments.crops, arguments.models)
    except StreamsvError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
