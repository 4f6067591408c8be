"""Stepped together, every stream gets what it gets alone."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import streamsv
from streamsv.encoder import Batcher, Encoder, SlotState
from streamsv.errors import ModelLoadError, StreamsvError

BUNDLED = Path(streamsv.__file__).parent / "models" / "default.onnx"

Floats = NDArray[np.float32]


class Hop:
    """What a stream hands out."""

    def __init__(self, pcm: Floats, state: Any) -> None:
        self.pcm = pcm
        self.state = state


class Stream:
    """A session without gate and scores: noise of its own, a hop whenever it ``is_due``."""

    def __init__(self, encoder: Encoder, seed: int) -> None:
        self.encoder = encoder
        self.generator = np.random.default_rng(seed)
        self.state: Any = encoder.initial_state()
        self.is_due = True
        self.refusal: BaseException | None = None
        self.heard: list[Floats] = []
        self.embeddings: list[Floats] = []
        self.in_flight: Hop | None = None

    def next_hop(self) -> Hop | None:
        if not self.is_due or self.in_flight:
            return None
        pcm = self.generator.normal(0, 0.1, (1, self.encoder.hop_samples)).astype(np.float32)
        self.in_flight = Hop(pcm, self.state)
        return self.in_flight

    def complete(self, hop: Hop, embedding: Floats, state: Any) -> list[str]:
        assert hop is self.in_flight
        if isinstance(self.refusal, KeyboardInterrupt):
            raise self.refusal
        self.in_flight = None
        if self.refusal:
            raise self.refusal
        if not np.isfinite(embedding).all():
            raise ModelLoadError("The embedding is not finite.", None)
        self.heard.append(hop.pcm)
        self.embeddings.append(embedding)
        self.state = state
        return [f"hop {len(self.heard)}"]

    def abandon(self, hop: Hop) -> None:
        assert hop is self.in_flight
        self.in_flight = None

    def assert_as_alone(self) -> None:
        """What it took is what the encoder gives to the same hops, one at a time."""
        state = self.encoder.initial_state()
        for pcm, embedding in zip(self.heard, self.embeddings, strict=True):
            expected, state = self.encoder.step(pcm, state)
            np.testing.assert_allclose(embedding, expected[0], rtol=0, atol=1e-5)
        assert dict(self.state).keys() == state.keys()
        for name, array in state.items():
            np.testing.assert_allclose(self.state[name], array, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(BUNDLED)


def streams_of(encoder: Encoder, count: int) -> list[Stream]:
    return [Stream(encoder, seed) for seed in range(count)]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_whoever_is_due_when_in_blocks_of_any_size_is_stepped_as_alone(
    encoder: Encoder, data: st.DataObject
) -> None:
    """Streams come and go, and each tick another few of them are due, in any order."""
    batcher = Batcher(encoder, data.draw(st.integers(1, 5), label="max_batch"))
    alive = streams_of(encoder, data.draw(st.integers(1, 7), label="streams"))
    gone: list[Stream] = []
    for tick in range(6):
        for stream in alive:
            stream.is_due = data.draw(st.sampled_from([True, True, False]), label="due")
        order = data.draw(st.permutations(alive), label="order")
        stepped = batcher.step(order)
        assert {id(s.session) for s in stepped} == {id(s) for s in alive if s.is_due}
        assert all(s.error is None for s in stepped)
        assert all(s.events == [f"hop {len(s.session.heard)}"] for s in stepped)
        if data.draw(st.booleans(), label="one goes") and len(alive) > 1:
            leaving = alive.pop(data.draw(st.integers(0, len(alive) - 1)))
            leaving.assert_as_alone()
            leaving.state = None
            gone.append(leaving)
            alive.append(Stream(encoder, 100 + tick))
    for stream in alive:
        stream.assert_as_alone()


@pytest.mark.parametrize("due", [1, 3, 8], ids=["lone", "some", "all"])
def test_audio_that_is_not_a_number_fails_its_own_stream_only(encoder: Encoder, due: int) -> None:
    batcher, streams = Batcher(encoder, 8), streams_of(encoder, 8)
    batcher.step(streams)
    for stream in streams[due:]:
        stream.is_due = False
    broken = streams[0]
    before = dict(broken.state)
    broken.generator = np.random.default_rng(0)
    silent = broken.next_hop()
    assert silent is not None
    silent.pcm[:] = np.nan
    broken.in_flight = None
    broken.next_hop = lambda: silent  # type: ignore[method-assign]
    broken.in_flight = silent
    stepped = {id(s.session): s for s in batcher.step(streams)}
    assert isinstance(stepped.pop(id(broken)).error, ModelLoadError)
    assert all(s.error is None for s in stepped.values())
    for name, array in broken.state.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    del broken.next_hop
    for stream in streams:
        stream.is_due = True
    batcher.step(streams)
    for stream in streams:
        stream.assert_as_alone()


@pytest.mark.parametrize("due", [3, 8], ids=["some", "all"])
@pytest.mark.parametrize("before", [1, 2])
def test_a_session_that_refuses_its_answer_keeps_its_state(
    encoder: Encoder, due: int, before: int
) -> None:
    batcher, streams = Batcher(encoder, 8), streams_of(encoder, 8)
    for _ in range(before):
        batcher.step(streams)
    for stream in streams[due:]:
        stream.is_due = False
    streams[1].refusal = ModelLoadError("No.", None)
    errors = [s.error for s in batcher.step(streams)]
    assert [isinstance(error, StreamsvError) for error in errors] == [
        False,
        True,
        *[False] * (due - 2),
    ]
    streams[1].refusal = None
    for stream in streams:
        stream.is_due = True
    batcher.step(streams)
    all_heard = [3, 2, *[3] * (due - 2), *[2] * (8 - due)]
    assert [len(stream.heard) - before + 1 for stream in streams] == all_heard
    for stream in streams:
        stream.assert_as_alone()


def test_an_error_of_the_network_hands_every_hop_back(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher, streams = Batcher(encoder, 4), streams_of(encoder, 6)
    batcher.step(streams)

    def failing(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(encoder, "bound_step", failing)
        batcher._bench._steps.clear()
        with pytest.raises(MemoryError):
            batcher.step(streams)
    assert all(stream.in_flight is None for stream in streams)
    batcher.step(streams)
    for stream in streams:
        assert len(stream.heard) == 2
        stream.assert_as_alone()


def test_a_state_is_a_mapping_that_can_be_kept_and_gone_on_from(
    encoder: Encoder, tmp_path: Path
) -> None:
    batcher, (stream, *others) = Batcher(encoder, 4), streams_of(encoder, 3)
    for _ in range(3):
        batcher.step([stream, *others])
    assert isinstance(stream.state, SlotState)
    saved: dict[str, Any] = dict(stream.state)
    np.savez(tmp_path / "state.npz", **saved)
    batcher.step([stream])
    with np.load(tmp_path / "state.npz") as arrays:
        restored = {name: arrays[name] for name in arrays.files}
    expected, _ = encoder.step(stream.heard[-1], restored)
    np.testing.assert_allclose(stream.embeddings[-1], expected[0], rtol=0, atol=1e-5)


def test_a_stream_may_move_between_batchers_and_the_bare_encoder(encoder: Encoder) -> None:
    first, second = Batcher(encoder, 2), Batcher(encoder, 3)
    streams = streams_of(encoder, 3)
    for _ in range(2):
        first.step(streams)
        second.step(streams)
        for stream in streams:
            hop = stream.next_hop()
            assert hop is not None
            embedding, state = encoder.step(hop.pcm, hop.state)
            stream.complete(hop, embedding[0], state)
    for stream in streams:
        assert len(stream.heard) == 6
        stream.assert_as_alone()


def test_memory_is_bounded_by_the_streams_there_are_and_free_when_they_are_gone(
    encoder: Encoder,
) -> None:
    """However they are stepped: all together, some of them, or few."""
    batcher, generator = Batcher(encoder, 4), np.random.default_rng(0)
    arena = batcher._arena
    for count in (9, 40, 3):
        streams = streams_of(encoder, count)
        for share in (1.0, 0.5, 0.5, 0.1, 1.0):
            for stream in streams:
                stream.is_due = bool(generator.random() < share)
            batcher.step(streams)
            stepped = [stream for stream in streams if isinstance(stream.state, SlotState)]
            assert arena.taken == {stream.state.row for stream in stepped}
            assert arena.rows <= max(16, 4 * len(arena.taken))
        for stream in streams:
            stream.assert_as_alone()
        del streams, stream, stepped
        gc.collect()
        assert not arena.taken


@pytest.mark.parametrize("due", [1, 3, 8], ids=["lone", "some", "all"])
def test_an_error_of_a_session_hands_back_the_hops_that_are_not_answered(
    encoder: Encoder, due: int
) -> None:
    batcher, streams = Batcher(encoder, 8), streams_of(encoder, 8)
    batcher.step(streams)
    for stream in streams[due:]:
        stream.is_due = False
    failing = streams[due // 2]
    failing.refusal = KeyboardInterrupt()
    before = [dict(stream.state) for stream in streams[due // 2 : due]]
    with pytest.raises(KeyboardInterrupt):
        batcher.step(streams)
    for stream, kept in zip(streams[due // 2 : due], before, strict=True):
        for name, array in dict(stream.state).items():
            np.testing.assert_array_equal(array, kept[name], err_msg=name)


def test_embeddings_stay_as_they_were_given(encoder: Encoder) -> None:
    batcher, streams = Batcher(encoder, 4), streams_of(encoder, 4)
    batcher.step(streams)
    first = [stream.embeddings[0].copy() for stream in streams]
    for _ in range(3):
        batcher.step(streams)
    for stream, embedding in zip(streams, first, strict=True):
        np.testing.assert_array_equal(stream.embeddings[0], embedding)
