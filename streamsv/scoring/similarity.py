"""How alike two embeddings are, before anything is known about channel or length."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.errors import ModelMismatch


def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.floating[Any]]:
    """The cosine of the angle between ``a`` (d,) and each row of ``b`` (n, d): (n,), in [-1, 1].

    float32 when both are float32, float64 otherwise. A row of zeros points nowhere and is at
    right angles to everything: 0.

    Raises `ModelMismatch` when the shapes do not fit each other.

    >>> cosine(np.array([1.0, 0.0]), np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])).tolist()
    [1.0, 0.0, -1.0]
    """
    return Directions(b).cosine(a)


class Directions:
    """Embeddings that others are compared with again and again, such as all voiceprints of a call.

    Parameters
    ----------
    embeddings:
        Shape (n, d). Their lengths are divided out here, once; float32 stays float32, anything
        else is float64.

    Attributes
    ----------
    rows:
        The embeddings with length 1, (n, d); one of zeros stays so.
    """

    __slots__ = ("rows",)

    def __init__(self, embeddings: npt.NDArray[Any]) -> None:
        if embeddings.ndim != 2:
            raise _misfit("(n, d)", embeddings.shape)
        rows = embeddings.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        self.rows: npt.NDArray[np.floating[Any]] = rows / np.where(lengths > 0, lengths, 1.0)
        if embeddings.dtype == np.float32:
            self.rows = self.rows.astype(np.float32)

    def cosine(self, embedding: npt.NDArray[Any]) -> npt.NDArray[np.floating[Any]]:
        """The cosine of the angle between ``embedding`` (d,) and each row: (n,), in [-1, 1].

        As :func:`cosine`, which does both for once.
        """
        if embedding.ndim != 1 or embedding.shape[0] != self.rows.shape[1]:
            raise _misfit(f"({self.rows.shape[1]},)", embedding.shape)
        units = self.rows
        if embedding.dtype != units.dtype:
            embedding, units = embedding.astype(np.float64), units.astype(np.float64, copy=False)
        length = math.sqrt(embedding.dot(embedding))
        angles: npt.NDArray[np.floating[Any]] = units.dot(embedding)
        if length > 0:
            angles /= length
        np.minimum(angles, 1.0, out=angles)
        np.maximum(angles, -1.0, out=angles)
        return angles

    def cosines(self, embedding: npt.NDArray[Any]) -> list[float]:
        """:meth:`cosine` as a list, at less cost where there are only a few rows.

        The two agree up to the rounding of the kind of number.
        """
        if embedding.dtype != self.rows.dtype or embedding.shape != self.rows.shape[1:]:
            found: list[float] = self.cosine(embedding).tolist()
            return found
        length = math.sqrt(embedding.dot(embedding)) or 1.0
        return [max(-1.0, min(1.0, dot / length)) for dot in self.rows.dot(embedding).tolist()]


def _misfit(expected: str, given: tuple[int, ...]) -> ModelMismatch:
    return ModelMismatch(
        f"Embeddings of one model have one size: expected {expected}, got {given}. "
        "Enroll the voiceprint again with the model that is loaded.",
        str(given),
    )
