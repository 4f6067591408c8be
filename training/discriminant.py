"""The last layer, made to tell the training voices apart.

A student that imitates its teacher answers where the teacher would, as well as it can. What it then
does not know, such as which of its own directions are noise, nobody has told it. So once it is
trained its last layer is whitened (:mod:`training.whitening`) and then turned by one more matrix M,
which begins as the identity: the voices of the training set, clean and damaged, after 1, 2 and
6 s, are classified by the cosine to a center of each, with an angular margin (AAM-softmax, Deng et
al. 2019), while the squared distance of M from the identity holds it back. The student stays as it
is, and so does what it costs: M goes into the weights of the last layer.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from streamsv.errors import ConfigError
from training.batches import CropSource
from training.checkpoint import load_student
from training.config import TrainConfig
from training.feed import Feed
from training.networks import make_network
from training.speaker_loss import SpeakerHead
from training.whitening import LastLayer, hear_voices, whitened, within_class


@dataclasses.dataclass(frozen=True, slots=True)
class DiscriminantConfig:
    """What is heard, and how far the layer may go.

    ``crops`` of each voice, of ``hops`` hops of 80 ms, each judged after every number of hops of
    ``prefixes``. ``ridge`` is that of the whitening, in units of the mean eigenvalue. ``steps`` of
    Adam over ``batch`` embeddings at ``rate``, which falls along a cosine; ``scale`` and ``margin``
    (radians) of AAM-softmax; ``decay`` the weight of the squared distance of M from the identity.
    """

    crops: int = 2
    hops: int = 75
    prefixes: tuple[int, ...] = (12, 25, 75)
    ridge: float = 1.0
    steps: int = 300
    batch: int = 512
    rate: float = 1e-3
    scale: float = 12.0
    margin: float = 0.2
    decay: float = 3e-4


def discriminate(config: TrainConfig, discriminant: DiscriminantConfig | None = None) -> LastLayer:
    """The last layer of a run's averaged weights, whitened and turned, by the voices of its cache.

    Raises ConfigError without a cache, or without labeled voices in it.
    """
    chosen = discriminant or DiscriminantConfig()
    student = load_student(config.folder / "checkpoint.pt", with_last_layer=False)
    network = make_network(config.network, config.model, config.paper)
    feed = Feed(config, network, torch.device("cpu"))
    if not isinstance(feed.source, CropSource):
        raise ConfigError("The last layer needs the cache: set data.stream to false.", True)
    torch.set_num_threads(config.threads)
    crops = feed.source.crops_of_voices(chosen.crops, chosen.hops)
    embeddings, labels = hear_voices(student, crops, feed.augment, chosen.prefixes)
    mean, covariance = within_class(embeddings, labels)
    layer = LastLayer(student.embed.weight.detach(), student.embed.bias.detach())
    white = whitened(layer, mean, covariance, chosen.ridge)
    identity = LastLayer(torch.eye(len(mean)), torch.zeros(len(mean)))
    seen = whitened(identity, mean, covariance, chosen.ridge)
    matrix = turned(
        torch.from_numpy(embeddings).float() @ seen.weight.t() + seen.bias,
        labels,
        chosen,
        config.seed,
    )
    return LastLayer(matrix @ white.weight, matrix @ white.bias)


def turned(
    embeddings: Tensor, labels: NDArray[np.int64], chosen: DiscriminantConfig, seed: int
) -> Tensor:
    """The matrix M (dimension, dimension) that tells voices apart.

    ``embeddings`` (rows, dimension) of any length, ``labels`` (rows,). Raises ConfigError for fewer
    than two voices.
    """
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ConfigError("Telling voices apart takes two of them.", len(names))
    generator = torch.Generator().manual_seed(seed)
    whose = torch.from_numpy(numbers)
    identity = torch.eye(embeddings.shape[1])
    matrix = torch.nn.Parameter(identity.clone())
    sums = torch.zeros(len(names), embeddings.shape[1])
    head = SpeakerHead(
        embeddings.shape[1],
        len(names),
        start=sums.index_add(0, whose, F.normalize(embeddings, dim=1)),
    )
    optimizer = torch.optim.Adam([matrix, *head.parameters()], lr=chosen.rate)
    for step in range(chosen.steps):
        for group in optimizer.param_groups:
            group["lr"] = chosen.rate * 0.5 * (1 + math.cos(math.pi * step / chosen.steps))
        rows = torch.randint(len(embeddings), (chosen.batch,), generator=generator)
        told = F.normalize(embeddings[rows] @ matrix.t(), dim=1)
        loss = head(told[:, None], whose[rows], chosen.margin, chosen.scale, 0, 0.0)
        loss = loss + chosen.decay * (matrix - identity).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return matrix.detach()
