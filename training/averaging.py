"""The mean of several checkpoints of one student: ``python -m training.averaging OUT A B ...``.

Stages of one training that begin where another ended lie close enough for the mean of their weights
to be a student as well, often one that hears better than each of them (Wortsman et al. 2022, "Model
soups"). What is written is a checkpoint to export or to start from; it remembers no optimizer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamsv.errors import ConfigError, StreamsvError
from training.checkpoint import load_checkpoint, save_checkpoint


def averaged(checkpoints: Sequence[Path]) -> dict[str, Any]:
    """The content of a checkpoint whose averaged weights are the mean of theirs.

    Everything else is that of the last one. Raises ConfigError for students of different kinds or
    shapes.
    """
    contents = [load_checkpoint(path) for path in checkpoints]
    *_, last = contents
    for path, content in zip(checkpoints, contents, strict=True):
        kind, wanted = (each.get("network", "causal") for each in (content, last))
        if kind != wanted:
            raise ConfigError(
                f"{path} is a {kind} student and {checkpoints[-1]} a {wanted} one; their weights "
                "mean different things, and only checkpoints of one kind can be averaged.",
                str(path),
            )
        if content["model_config"] != last["model_config"]:
            raise ConfigError(
                f"{path} is a student of another shape than {checkpoints[-1]}; only checkpoints of "
                "one student can be averaged.",
                str(path),
            )
    mean = {
        name: sum(content["average"][name] for content in contents) / len(contents)
        for name in last["average"]
    }
    kept = ("config", "network", "model_config", "step", "seconds")
    return {name: last[name] for name in kept if name in last} | {"student": mean, "average": mean}


def main(arguments: Sequence[str]) -> int:
    """Average, or say why not."""
    if len(arguments) < 3:
        sys.stderr.write("usage: python -m training.averaging OUT CHECKPOINT CHECKPOINT...\n")
        return 2
    out, *checkpoints = [Path(argument) for argument in arguments]
    try:
        save_checkpoint(out, averaged(checkpoints))
    except StreamsvError as error:
        sys.stderr.write(f"{error.message}\n")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
