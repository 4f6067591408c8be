"""What the last layer gains from more voices, the student staying as it is:

    python -m training.more_voices CONFIG CHECKPOINT SET...

The last layer of CHECKPOINT is fitted as ``python -m training discriminate`` does, to part of the
labeled voices in the cache of CONFIG, and judged on the sets. A line of JSON for each: how many
voices, which draw of them, and the error rates. A larger part of one draw holds the smaller ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from streamsv.errors import ConfigError
from streamsv.evaluation.sets import load_set
from training.batches import CropSource
from training.checkpoint import load_student
from training.config import load_config
from training.devsets import error_rates
from training.discriminant import DiscriminantConfig, prefixes_of, told_apart
from training.feed import Feed
from training.networks import make_network
from training.whitening import LastLayer, hear_voices

SHARES = (0.125, 0.25, 0.5, 1.0)
DRAWS = 3


def main(arguments: Sequence[str]) -> int:
    """Hear the voices once, then fit and judge a layer for each part; 2 for too few arguments.

    Raises ConfigError for a configuration without a cache.
    """
    if len(arguments) < 3:
        sys.stderr.write("usage: python -m training.more_voices CONFIG CHECKPOINT SET...\n")
        return 2
    config, chosen = load_config(Path(arguments[0])), DiscriminantConfig()
    student = load_student(Path(arguments[1]), with_last_layer=False)
    sets = [load_set(Path(folder)) for folder in arguments[2:]]
    network = make_network(config.network, config.model, config.paper)
    feed = Feed(config, network, torch.device("cpu"))
    if not isinstance(feed.source, CropSource):
        raise ConfigError("The voices are those of a cache: set data.stream to false.", True)
    torch.set_num_threads(config.threads)
    crops = feed.source.crops_of_voices(chosen.crops, chosen.hops)
    embeddings, labels = hear_voices(student, crops, feed.augment, prefixes_of(chosen))
    trained = LastLayer(student.embed.weight.detach().clone(), student.embed.bias.detach().clone())
    voices = np.unique(labels)
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(voices)
        for share in SHARES:
            part = order[: max(2, round(share * len(voices)))]
            is_in = np.isin(labels, part)
            layer = told_apart(trained, embeddings[is_in], labels[is_in], chosen, draw)
            student.load_state_dict(
                student.state_dict() | {"embed.weight": layer.weight, "embed.bias": layer.bias}
            )
            row = {"voices": len(part), "draw": draw, "errors": error_rates(student, sets)}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
