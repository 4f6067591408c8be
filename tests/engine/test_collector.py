from __future__ import annotations

import gc

import pytest

from streamsv.engine.collector import spared_collector


def test_the_collector_is_spared_and_then_as_before() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with spared_collector():
        assert gc.get_threshold() > before
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_an_error_leaves_it_as_before() -> None:
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), spared_collector():
        _ = 1 / 0
    assert gc.get_threshold() == before
