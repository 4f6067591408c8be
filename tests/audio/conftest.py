"""How the audio tests cut a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

Split = Callable[[Any, Sequence[int]], Iterator[Any]]


@pytest.fixture(scope="session")
def split() -> Split:
    """Cuts anything that can be sliced into pieces of the given sizes, over and over."""

    def pieces(whole: Any, sizes: Sequence[int]) -> Iterator[Any]:
        start = 0
        for size in itertools.cycle(sizes):
            if start >= len(whole):
                return
            yield whole[start : start + size]
            start += size

    return pieces
