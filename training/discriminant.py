"""The last layer, made to tell the training voices apart.

A student that imitates its teacher answers where the teacher would, as well as it can. What it then
does not know, such as which of its own directions are noise, nobody has told it. So once it is
trained its last layer is whitened (:mod:`training.whitening`) and then turned by one more matrix M,
which begins as the identity: crops of the training voices, clean and damaged, are classified by the
cosine to a center of each voice, less a margin for its own (AM-softmax; Wang et al. 2018, "CosFace:
Large Margin Cosine Loss for Deep Face Recognition"), while the squared distance of M from the
identity holds it back. The student stays as it is, and so does what it costs: M goes into the
weights of the last layer.
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
from streamsv.nn.student import Student
from training.batches import CropSource
from training.checkpoint import load_student
from training.config import TrainConfig
from training.feed import Feed
from training.networks import make_network
from training.whitening import LastLayer, hear_voices, whitened, within_class


@dataclasses.dataclass(frozen=True, slots=True)
class DiscriminantConfig:
    """What is heard, and how far the layer may go.

    ``crops`` of each voice, of ``hops`` hops of 80 ms, are judged at their end; for the whitening,
    whose ``ridge`` is in units of the mean eigenvalue, after every number of hops of ``early`` as
    well. ``steps`` of Adam over ``batch`` embeddings at ``rate``, which falls along a cosine;
    ``scale`` and ``margin`` of AM-softmax; ``decay`` the weight of the squared distance of M from
    the identity.
    """

    crops: int = 2
    hops: int = 75
    early: tuple[int, ...] = (12, 25)
    ridge: float = 1.0
    steps: int = 300
    batch: int = 512
    rate: float = 1e-3
    scale: float = 12.0
    margin: float = 0.3
    decay: float = 3e-4


def discriminate(config: TrainConfig, discriminant: DiscriminantConfig | None = None) -> LastLayer:
    """The last layer of a run's averaged weights, whitened and turned, by the voices of its cache.

    Raises ConfigError without a cache, or without labeled voices in it.
    """
    chosen = discriminant or DiscriminantConfig()
    student = load_student(config.folder / "checkpoint.pt", with_last_layer=False)
    layer, embeddings, labels = heard_voices(config, student, chosen)
    return told_apart(layer, embeddings, labels, chosen, config.seed)


def heard_voices(
    config: TrainConfig, student: Student, chosen: DiscriminantConfig
) -> tuple[LastLayer, NDArray[np.float64], NDArray[np.int64]]:
    """The student's last layer, and what it makes of the labeled voices of a cache.

    A copy of the layer, embeddings (rows, dimension) judged at :func:`prefixes_of`, and whose they
    are, (rows,). Raises ConfigError without a cache.
    """
    network = make_network(config.network, config.model, config.paper)
    feed = Feed(config, network, torch.device("cpu"))
    if not isinstance(feed.source, CropSource):
        raise ConfigError("The last layer needs the cache: set data.stream to false.", True)
    torch.set_num_threads(config.threads)
    crops = feed.source.crops_of_voices(chosen.crops, chosen.hops)
    embeddings, labels = hear_voices(student, crops, feed.augment, prefixes_of(chosen))
    layer = LastLayer(student.embed.weight.detach().clone(), student.embed.bias.detach().clone())
    return layer, embeddings, labels


def prefixes_of(chosen: DiscriminantConfig) -> tuple[int, ...]:
    """After how many hops a crop is judged; its end is the last."""
    return (*chosen.early, chosen.hops)


def told_apart(
    layer: LastLayer,
    embeddings: NDArray[np.float64],
    labels: NDArray[np.int64],
    chosen: DiscriminantConfig,
    seed: int,
) -> LastLayer:
    """``layer`` whitened and turned by what it made of some voices.

    ``layer``, ``embeddings`` and ``labels`` are those of :func:`heard_voices`, or of some of its
    voices. Raises ConfigError for fewer than two voices.
    """
    mean, covariance = within_class(embeddings, labels)
    white = whitened(layer, mean, covariance, chosen.ridge)
    identity = LastLayer(torch.eye(len(mean)), torch.zeros(len(mean)))
    seen = whitened(identity, mean, covariance, chosen.ridge)
    every = len(prefixes_of(chosen))
    ends = slice(every - 1, None, every)
    rows = torch.from_numpy(embeddings[ends]).float() @ seen.weight.t() + seen.bias
    matrix = turned(rows, labels[ends], chosen, seed)
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
    sums.index_add_(0, whose, F.normalize(embeddings, dim=1))
    centers = torch.nn.Parameter(F.normalize(sums, dim=1))
    optimizer = torch.optim.Adam([matrix, centers], lr=chosen.rate)
    for step in range(chosen.steps):
        for group in optimizer.param_groups:
            group["lr"] = chosen.rate * 0.5 * (1 + math.cos(math.pi * step / chosen.steps))
        rows = torch.randint(len(embeddings), (chosen.batch,), generator=generator)
        told = F.normalize(embeddings[rows] @ matrix.t(), dim=1)
        cosines = told @ F.normalize(centers, dim=1).t()
        cosines = cosines - chosen.margin * F.one_hot(whose[rows], len(names))
        loss = F.cross_entropy(chosen.scale * cosines, whose[rows])
        loss = loss + chosen.decay * (matrix - identity).square().sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return matrix.detach()
