"""Within-class covariance normalization, folded into the student's last layer.

The same voice comes out a little differently from another room, another telephone, other words.
The directions in which it moves are measured on the training voices, clean and damaged, early and
late, and made shorter: z = A (e - m), A = (S_w + r I)^(-1/2), with S_w the mean covariance within a
voice, r ``ridge`` times its mean eigenvalue, and m the mean of all voices (Hatch, Kajarekar and
Stolcke 2006, "Within-class covariance normalization for SVM-based speaker recognition"). As e is
the output of a linear layer, A and m go into its weights: nothing is added to the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamsv.errors import ConfigError
from streamsv.nn.student import Student
from training.augment import Augmenter

Floats = NDArray[np.float64]

COPIES = 3
"""One clean copy of every crop, and damaged ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class LastLayer:
    """The weights of the layer that makes the embedding: (dimension, features), (dimension,)."""

    weight: Tensor
    bias: Tensor


def within_class(embeddings: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean (dimension,) of the classes' means, and the pooled covariance within classes.

    ``embeddings`` (rows, dimension), ``labels`` (rows,). Raises ConfigError when no class has two
    rows.
    """
    names, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), embeddings.shape[1]))
    np.add.at(sums, numbers, embeddings)
    means = sums / sizes[:, None]
    spare = len(labels) - len(names)
    if spare < 1:
        raise ConfigError("No voice was heard twice: there is nothing to whiten by.", len(names))
    rest = embeddings - means[numbers]
    return means.mean(axis=0), rest.T @ rest / spare


def whitened(layer: LastLayer, mean: Floats, covariance: Floats, ridge: float) -> LastLayer:
    """The layer with A (W x + b - m) in place of W x + b.

    A is scaled to keep the mean variance, so that the weights stay of their size.
    """
    values, vectors = np.linalg.eigh(covariance)
    scales = 1 / np.sqrt(np.maximum(values, 0) + ridge * values.mean())
    matrix = (vectors * (scales / scales.mean())) @ vectors.T
    weight = matrix @ layer.weight.double().numpy()
    bias = matrix @ (layer.bias.double().numpy() - mean)
    return LastLayer(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())


@torch.no_grad()
def hear_voices(
    student: Student,
    crops: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]],
    augment: Augmenter,
    prefixes: Sequence[int],
) -> tuple[Floats, NDArray[np.int64]]:
    """Embeddings before their length is made 1, (rows, dimension), and whose they are.

    ``crops`` as :meth:`training.batches.CropSource.crops_of_voices` gives them, each heard clean
    and damaged, and judged after every number of hops of ``prefixes``.
    """
    heard, whose = [], []
    at = np.array(prefixes) - 1
    for number, (pcm, voices) in enumerate(crops):
        generator = np.random.default_rng(number)
        clean = torch.from_numpy(pcm)
        for copy in range(COPIES):
            sound = augment(clean, generator) if copy else clean
            details, _ = student.step_details(sound, student.init_state(len(sound)))
            heard.append(details.raw[:, at].reshape(-1, details.raw.shape[2]).double().numpy())
            whose.append(np.repeat(voices, len(at)))
    return np.concatenate(heard), np.concatenate(whose)
