"""Python's garbage collector beside hundreds of streams."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_THRESHOLDS = (20_000, 20, 20)


@contextlib.contextmanager
def spared_collector() -> Iterator[None]:
    """While many streams run: what was made so far is not looked at, and the rest less often.

    By default a server of some hundred calls spends a twentieth of its time on garbage that its
    calls do not make: what they keep is freed by counting references.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
