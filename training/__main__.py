"""``python -m training STAGE CONFIG``: prepare, train or export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamsv.errors import StreamsvError
from training.config import TrainConfig, load_config


def _prepare(config: TrainConfig, _output: Path | None) -> None:
    from training.prepare import prepare
    from training.teachers import OnnxTeacher

    teacher = OnnxTeacher(Path(config.teacher.path), config.threads)
    prepare(Path(config.data.clips), teacher, Path(config.data.cache), config.data.speeds)


def _train(config: TrainConfig, _output: Path | None) -> None:
    from training.loop import train

    train(config, lambda line: print(line, flush=True))  # noqa: T201


def _export(config: TrainConfig, output: Path | None) -> None:
    from streamsv.nn.export import export
    from training.checkpoint import load_student

    folder = Path(config.run_dir) / config.name
    target = output or folder / "model.onnx"
    info = export(load_student(folder / "checkpoint.pt"), target, {"trained_by": config.name})
    print(f"{target}: fingerprint {info.fingerprint}")  # noqa: T201


STAGES = {"prepare": _prepare, "train": _train, "export": _export}


def main() -> int:
    """Parse, call, and turn a named error into a sentence."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("config", type=Path, help="a YAML file such as configs/train/default.yaml")
    parser.add_argument("--output", type=Path, help="where export writes the ONNX file")
    arguments = parser.parse_args()
    try:
        STAGES[arguments.stage](load_config(arguments.config), arguments.output)
    except StreamsvError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
