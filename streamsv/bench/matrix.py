"""How fast this machine multiplies matrices: float32 and 8-bit integers, one thread.

Run as a script, since numpy's BLAS takes its number of threads when it is loaded; it imports
nothing of streamsv and prints two numbers, 10^9 operations a second of CPU time.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
_SIZE = 512
_ROUNDS = 5


_INT8_PRODUCT = (
    "CAg6iwEKLwoBcxIBYiIPQ29uc3RhbnRPZlNoYXBlKhYKBXZhbHVlKgoIARADKgEDQgF2oAEEChgKAWEKAWISAWMi"
    "DU1hdE11bEludGVnZXISAXAqDQgCEAc6BIAEgARCAXNaFQoBYRIQCg4IAhIKCgMIgAQKAwiABGIVCgFjEhAKDggG"
    "EgoKAwiABAoDCIAEQgQKABAN"
)
"""An ONNX graph: unsigned bytes (512, 512) times a constant of signed ones (MatMulInteger)."""


class MatrixRates(NamedTuple):
    """10^9 operations a second of one thread, a multiply-add counted as two."""

    float32: float
    int8: float

    def least_s(self, float32_macs: float, int8_macs: float) -> float:
        """Seconds that large matrix products take for so many multiply-adds."""
        return 2e-9 * (float32_macs / self.float32 + int8_macs / self.int8)


def matrix_rates(seconds: float = 0.5) -> MatrixRates | None:
    """The best of some rounds of each, that take ``seconds`` in all.

    ``None`` where no second interpreter can be started.
    """
    # -P keeps this folder off the script's path, where modules would be taken for others'.
    command = [sys.executable, "-P", str(Path(__file__)), str(seconds / 2)]
    environment = os.environ | _ONE_THREAD
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        float32, int8 = map(float, ran.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return MatrixRates(float32, int8)


def _float32_product() -> Callable[[], object]:
    left = np.random.default_rng(0).standard_normal((_SIZE, _SIZE), dtype=np.float32)
    right, product = left.T.copy(), np.empty_like(left)
    return lambda: np.matmul(left, right, out=product)


def _int8_product() -> Callable[[], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        base64.b64decode(_INT8_PRODUCT), options, providers=["CPUExecutionProvider"]
    )
    left = np.random.default_rng(0).integers(0, 256, (_SIZE, _SIZE), dtype=np.uint8)
    return lambda: session.run(None, {"a": left})


def _measure(multiply: Callable[[], object], seconds: float) -> float:
    """2 n^3 operations a product of n x n matrices."""
    multiply()
    best = 0.0
    for _ in range(_ROUNDS):
        products, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds / _ROUNDS:
            multiply()
            products += 1
        best = max(best, products * 2 * _SIZE**3 / spent / 1e9)
    return best


if __name__ == "__main__":
    each_s = float(sys.argv[1])
    rates = [_measure(product(), each_s) for product in (_float32_product, _int8_product)]
    sys.stdout.write(" ".join(map(str, rates)) + "\n")
