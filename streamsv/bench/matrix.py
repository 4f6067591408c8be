"""How fast this machine multiplies matrices: float32, one thread.

Run as a script, since numpy's BLAS takes its number of threads when it is loaded; it imports
nothing of streamsv and prints one number, GFLOP/s of CPU time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

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


def matrix_gflops(seconds: float = 0.5) -> float | None:
    """GFLOP/s of one thread, the best of some rounds that take ``seconds`` in all.

    ``None`` where no second interpreter can be started.
    """
    # -P keeps this folder off the script's path, where modules would be taken for others'.
    command = [sys.executable, "-P", str(Path(__file__)), str(seconds)]
    environment = os.environ | _ONE_THREAD
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return float(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _measure(seconds: float) -> float:
    """2 n^3 operations a product of n x n matrices."""
    left = np.random.default_rng(0).standard_normal((_SIZE, _SIZE), dtype=np.float32)
    right, product = left.T.copy(), np.empty_like(left)
    np.matmul(left, right, out=product)
    best = 0.0
    for _ in range(_ROUNDS):
        products, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds / _ROUNDS:
            np.matmul(left, right, out=product)
            products += 1
        best = max(best, products * 2 * _SIZE**3 / spent / 1e9)
    return best


if __name__ == "__main__":
    sys.stdout.write(f"{_measure(float(sys.argv[1]))}\n")
