"""How alike two embeddings are, before anything is known about channel or length."""

from __future__ import annotations

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
    if a.ndim != 1 or b.ndim != 2 or b.shape[1] != a.shape[0]:
        raise ModelMismatch(
            f"Embeddings of one model have one size: expected (d,) and (n, d), got {a.shape} and "
            f"{b.shape}. Enroll the voiceprint again with the model that is loaded.",
            f"{a.shape}, {b.shape}",
        )
    single = a.dtype == np.float32 and b.dtype == np.float32
    one = a.astype(np.float64)
    rows = b.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(one)
    angles = np.clip(rows @ one / np.where(lengths > 0, lengths, 1.0), -1.0, 1.0)
    return angles.astype(np.float32 if single else np.float64)
