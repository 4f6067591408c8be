"""What the last layer gains from more voices, the student staying as it is:

    python -m training.more_voices CONFIG CHECKPOINT SET...

The last layer of CHECKPOINT is fitted as ``python -m training discriminate`` does, to part of the
labeled voices in the cache of CONFIG, and judged on the sets. A line of JSON for each: how many
voices, which draw of them, and the error rates. A larger part of one draw holds the smaller ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamsv.errors import StreamsvError
from streamsv.evaluation.sets import load_set
from training.checkpoint import load_student
from training.config import load_config
from training.devsets import error_rates
from training.discriminant import DiscriminantConfig, heard_voices, told_apart

SHARES = (0.125, 0.25, 0.5, 1.0)
DRAWS = 3


def rows_of(config: Path, checkpoint: Path, folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """``voices``, ``draw`` and ``errors`` of a layer for each part; the voices are heard once.

    Raises ConfigError for a configuration without a cache.
    """
    chosen, student = DiscriminantConfig(), load_student(checkpoint, with_last_layer=False)
    sets = [load_set(folder) for folder in folders]
    trained, embeddings, labels = heard_voices(load_config(config), student, chosen)
    voices = np.unique(labels)
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(voices)
        for share in SHARES:
            part = order[: max(2, round(share * len(voices)))]
            is_in = np.isin(labels, part)
            layer = told_apart(trained, embeddings[is_in], labels[is_in], chosen, draw)
            fitted = {"embed.weight": layer.weight, "embed.bias": layer.bias}
            student.load_state_dict(student.state_dict() | fitted)
            yield {"voices": len(part), "draw": draw, "errors": error_rates(student, sets)}


def main(arguments: Sequence[str]) -> int:
    """Print the rows, or say why not."""
    if len(arguments) < 3:
        sys.stderr.write("usage: python -m training.more_voices CONFIG CHECKPOINT SET...\n")
        return 2
    config, checkpoint, *folders = [Path(argument) for argument in arguments]
    try:
        for row in rows_of(config, checkpoint, folders):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    except StreamsvError as error:
        sys.stderr.write(f"{error.message}\n")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
