"""``python -m training STAGE CONFIG``: prepare, train, export, calibrate, evaluate.

Each stage reads the same configuration and leaves its result where the next one looks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from streamsv.errors import StreamsvError
from training.config import TrainConfig, load_config


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def prepare_stage(config: TrainConfig) -> None:
    """Gate every clip in every voice and let the teacher hear it: the cache."""
    from training.distributed import join
    from training.feed import clips_of
    from training.prepare import prepare_clips, voices_of
    from training.teachers import load_teacher

    clips = clips_of(config)
    root = Path(os.path.commonpath([clip.path.parent for clip in clips]))
    data = config.data
    teacher = load_teacher(config.teacher, config.threads, join(config.device).device)
    prepare_clips(clips, root, teacher, Path(data.cache), voices_of(data.speeds, data.warps))


def train_stage(config: TrainConfig) -> None:
    """Train, or go on from the last checkpoint."""
    from training.loop import train

    train(config, _say)


def export_stage(config: TrainConfig, output: Path | None) -> None:
    """Write the averaged weights of the checkpoint as one ONNX file."""
    import torch

    from streamsv.nn.config import HOP_SAMPLES
    from streamsv.nn.export import export
    from streamsv.nn.macs import count_macs
    from training.checkpoint import load_checkpoint, load_student

    checkpoint = config.folder / "checkpoint.pt"
    student, content = load_student(checkpoint), load_checkpoint(checkpoint)
    card = {
        "config": config.name,
        "teacher": Path(config.teacher.path).stem,
        "steps": content["step"],
        "audio_hours_heard": round(content["seconds"] / 3600, 1),
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "macs_per_hop": count_macs(student, torch.zeros(1, HOP_SAMPLES)),
    }
    exported = export(student, output or model_path(config), card)
    _say(f"{exported.path}: fingerprint {exported.fingerprint}")


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
    parser.add_argument("stage", choices=("prepare", "train", "export", "calibrate", "evaluate"))
    parser.add_argument("config", type=Path, help="a YAML file such as configs/train/default.yaml")
    parser.add_argument(
        "sets",
        type=Path,
        nargs="*",
        help="calibrate: evaluation sets to fit on; evaluate: a list of trials, then the folders "
        "that its files are below",
    )
    parser.add_argument("--output", type=Path, help="the ONNX file to write, or to calibrate")
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
    arguments = parser.parse_args()
    wanted = {"calibrate": 1, "evaluate": 2}.get(arguments.stage, 0)
    if len(arguments.sets) < wanted or (arguments.sets and not wanted):
        parser.error(
            "calibrate takes one or more set folders, evaluate a list and one or more folders, "
            "the other stages none"
        )
    try:
        config = load_config(arguments.config)
        if arguments.stage == "prepare":
            prepare_stage(config)
        elif arguments.stage == "train":
            train_stage(config)
        elif arguments.stage == "export":
            export_stage(config, arguments.output)
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
