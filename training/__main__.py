"""``python -m training STAGE CONFIG``: prepare, train, export, calibrate.

Each stage reads the same configuration and leaves its result where the next one looks for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from streamsv.errors import StreamsvError
from training.config import TrainConfig, load_config


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def prepare_stage(config: TrainConfig) -> None:
    """Gate every clip in every speed and let the teacher hear it: the cache."""
    from training.prepare import prepare
    from training.teachers import OnnxTeacher

    teacher = OnnxTeacher(Path(config.teacher.path), config.threads)
    prepare(Path(config.data.clips), teacher, Path(config.data.cache), config.data.speeds)


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

    checkpoint = run_folder(config) / "checkpoint.pt"
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


def calibrate_stage(config: TrainConfig, output: Path | None, sets: Sequence[Path]) -> None:
    """Fit the calibration of the exported model on evaluation sets, and write it beside it."""
    from streamsv.encoder import Encoder
    from streamsv.evaluation.fit import fit_sets
    from streamsv.evaluation.sets import load_set

    model = output or model_path(config)
    calibration = fit_sets(Encoder(model), [load_set(folder) for folder in sets])
    target = model.with_suffix(".calibration.json")
    calibration.save(target)
    _say(f"{target}: fitted on {', '.join(folder.name for folder in sets)}")


def run_folder(config: TrainConfig) -> Path:
    """Where a run keeps its checkpoint, its log and its exported model."""
    return Path(config.run_dir) / config.name


def model_path(config: TrainConfig) -> Path:
    """Where ``export`` writes by default."""
    return run_folder(config) / "model.onnx"


def main() -> int:
    """Parse, call, and turn a named error into a sentence."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stage", choices=("prepare", "train", "export", "calibrate"))
    parser.add_argument("config", type=Path, help="a YAML file such as configs/train/default.yaml")
    parser.add_argument("sets", type=Path, nargs="*", help="calibrate: evaluation sets to fit on")
    parser.add_argument("--output", type=Path, help="the ONNX file to write, or to calibrate")
    arguments = parser.parse_args()
    if (arguments.stage == "calibrate") != bool(arguments.sets):
        parser.error("calibrate takes one or more set folders, the other stages none")
    try:
        config = load_config(arguments.config)
        if arguments.stage == "prepare":
            prepare_stage(config)
        elif arguments.stage == "train":
            train_stage(config)
        elif arguments.stage == "export":
            export_stage(config, arguments.output)
        else:
            calibrate_stage(config, arguments.output, arguments.sets)
    except StreamsvError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
