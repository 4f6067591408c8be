"""Taking the past out of the pooling, and noticing that another voice speaks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.errors import ModelLoadError, ModelMismatch
from streamsv.scoring.takeover import (
    STATE,
    STEP_HOPS,
    USUAL_LOOKS,
    WINDOW_STEPS,
    OwnVoice,
    TakeoverModel,
    TakeoverWatch,
    moments_between,
)

CHANNELS = 6
WINDOW_HOPS = STEP_HOPS * WINDOW_STEPS


def moments_of(logits: Any, values: Any) -> dict[str, Any]:
    peak = logits.max(axis=0)
    weights = np.exp(logits - peak)
    mean = (weights * values).sum(axis=0) / weights.sum(axis=0)
    spread = (weights * (values - mean) ** 2).sum(axis=0)
    return {"peak": peak, "weight": weights.sum(axis=0), "mean": mean, "spread": spread}


@given(seed=st.integers(0, 2**32 - 1), old=st.integers(1, 200), new=st.integers(1, 50))
def test_what_is_left_without_the_past_is_what_came_after_it(seed: int, old: int, new: int) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (old + new, CHANNELS))
    values = generator.normal(1, 2, (old + new, CHANNELS))
    mean, variance = moments_between(
        moments_of(logits, values), moments_of(logits[:old], values[:old])
    )
    rest = moments_of(logits[old:], values[old:])
    np.testing.assert_allclose(mean, rest["mean"], atol=1e-4)
    np.testing.assert_allclose(variance, rest["spread"] / rest["weight"], atol=1e-3)


def model(threshold: float = 0.3, own_share: float = 0.0) -> TakeoverModel:
    """Whose embedding is the pooled mean, less its average, and unit length."""
    weight = np.concatenate([np.eye(CHANNELS), np.zeros((CHANNELS, CHANNELS))])
    bias = np.zeros(CHANNELS, np.float32)
    return TakeoverModel(
        "f" * 64, weight.astype(np.float32), bias, threshold, 2.0, {}, own_share, usual=0.9
    )


class Call:
    """Frames of one voice or another, pooled hop by hop."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(1)
        self.voices = {
            "alice": np.array([5.0, -5, 0, 0, 5, -5]),
            "bob": np.array([-5.0, 5, 5, -5, 0, 0]),
        }
        self.logits = np.zeros((0, CHANNELS))
        self.values = np.zeros((0, CHANNELS))
        self.hops = 0

    def hop(self, voice: str) -> tuple[Any, Any, float]:
        values = self.voices[voice] + self.generator.normal(0, 1, (4, CHANNELS))
        self.values = np.concatenate([self.values, values])
        self.logits = np.concatenate([self.logits, self.generator.normal(0, 1, (4, CHANNELS))])
        self.hops += 1
        moments = moments_of(self.logits, self.values)
        pooled = moments["mean"] - moments["mean"].mean()
        state = {key: moments[name][None, None] for name, key in STATE.items()}
        return (pooled / np.linalg.norm(pooled)).astype(np.float32), state, self.hops * 0.08


def unit(voice: Any) -> Any:
    return (voice / np.linalg.norm(voice)).astype(np.float32)


def heard(
    plan: list[tuple[str, int]],
    accept_at: int = 40,
    is_speech: bool = True,
    used: TakeoverModel | None = None,
) -> list[tuple[int, str, float]]:
    call, watch, found = Call(), TakeoverWatch(used or model()), []
    for voice, hops in plan:
        for _ in range(hops):
            embedding, state, at_s = call.hop(voice)
            for who, changed_at_s in watch.hear(embedding, state, at_s, is_speech):
                found.append((call.hops, who, changed_at_s))
            if call.hops == accept_at:
                watch.accept("alice", unit(call.voices["alice"]))
    return found


def test_another_voice_is_noticed_once_and_the_change_is_dated() -> None:
    ((hop, who, changed_at_s),) = heard([("alice", 150), ("bob", 150)])
    assert who == "alice"
    assert 150 < hop <= 150 + WINDOW_HOPS
    assert changed_at_s == pytest.approx(150 * 0.08, abs=2.5)


def test_a_voice_that_was_alike_so_far_is_held_to_it() -> None:
    plan = [("alice", 150), ("bob", 150)]
    # Bob's windows are never below -1; less 0.9 of what Alice's were, they are.
    assert heard(plan, used=model(threshold=-1.0)) == []
    ((hop, who, _),) = heard(plan, used=model(threshold=-1.0, own_share=0.9))
    assert who == "alice"
    assert 150 < hop <= 150 + WINDOW_HOPS
    assert heard([("alice", 400)], used=model(threshold=-1.0, own_share=0.9)) == []


def test_what_a_window_overlaps_is_not_yet_its_own_past() -> None:
    own = OwnVoice()
    for likeness in range(WINDOW_STEPS):
        own.next_look()
        assert own.before_this(0.5) == 0.5
        own.add(likeness)
    own.next_look()
    assert own.before_this(0.5) == pytest.approx(0.5 * USUAL_LOOKS / (USUAL_LOOKS + 1))


@given(
    st.lists(
        st.tuples(st.lists(st.floats(-1, 1), max_size=12), st.integers(0, WINDOW_STEPS + 1)),
        max_size=8,
    )
)
def test_a_look_that_is_taken_back_leaves_nothing_behind(
    rounds: list[tuple[list[float], int]],
) -> None:
    own, left = OwnVoice(), []
    for likenesses, taken_back in rounds:
        for likeness in likenesses:
            own.next_look()
            own.add(likeness)
            left.append(likeness)
        # A call goes back over looks that it has taken since it went back last.
        for _ in range(min(taken_back, len(likenesses))):
            own.take_back()
            left.pop()
    again = OwnVoice()
    for likeness in left:
        again.next_look()
        again.add(likeness)
    assert own.looks == again.looks
    assert own.before_this(0.5) == pytest.approx(again.before_this(0.5), abs=1e-9)


def test_music_that_is_forgotten_takes_back_no_look_from_before_it() -> None:
    """Bob's windows fall below by what Alice's were; that is known from her five looks alone."""
    used = dataclasses.replace(model(threshold=-0.8, own_share=1.0), usual=0.0)
    call, watch = Call(), TakeoverWatch(used)
    found: list[str] = []

    def hear(voice: str, hops: int, is_speech: bool = True) -> None:
        for _ in range(hops):
            found.extend(who for who, _ in watch.hear(*call.hop(voice), is_speech))
            if call.hops == 40:
                watch.accept("alice", unit(call.voices["alice"]))

    looks_end = -(-(40 + WINDOW_HOPS) // STEP_HOPS) * STEP_HOPS + (WINDOW_STEPS - 1) * STEP_HOPS
    hear("alice", looks_end)
    hear("bob", WINDOW_HOPS, is_speech=False)
    call.hops = looks_end
    call.values, call.logits = call.values[: 4 * looks_end], call.logits[: 4 * looks_end]
    watch.go_back(looks_end)
    hear("bob", 2 * WINDOW_HOPS)
    assert found == ["alice"]


@pytest.mark.parametrize("step_hops", [6, None])
def test_a_file_that_was_fitted_for_other_looks_is_refused(
    tmp_path: Path, step_hops: int | None
) -> None:
    path = tmp_path / "earlier.npz"
    model().save(path)
    with np.load(path) as content:
        stored = dict(content)
    described = json.loads(str(stored["described"]))
    described["step_hops"] = step_hops
    if step_hops is None:  # an earlier release did not say
        del described["step_hops"]
    np.savez_compressed(path, **(stored | {"described": np.array(json.dumps(described))}))
    with pytest.raises(ModelLoadError, match="was fitted for another release of streamsv"):
        TakeoverModel.load(path)


def test_the_same_voice_goes_on_unremarked() -> None:
    assert heard([("alice", 400)]) == []


def test_nothing_is_noticed_before_anybody_was_accepted() -> None:
    assert heard([("alice", 100), ("bob", 200)], accept_at=10_000) == []


def test_what_was_said_before_the_verdict_is_in_no_window() -> None:
    assert heard([("bob", 30), ("alice", 200)], accept_at=60) == []


def test_what_is_no_speech_is_nobody_else() -> None:
    assert heard([("alice", 150), ("bob", 150)], is_speech=False) == []


def test_what_the_call_went_back_before_is_nobody_else() -> None:
    call, watch = Call(), TakeoverWatch(model())
    found: list[str] = []

    def hear(voice: str, hops: int, is_speech: bool = True) -> None:
        for _ in range(hops):
            changed = watch.hear(*call.hop(voice), is_speech)
            found.extend(who for who, _ in changed)
            if call.hops == 40:
                watch.accept("alice", unit(call.voices["alice"]))

    def go_back(hops: int) -> None:
        call.hops = hops
        call.values, call.logits = call.values[: 4 * hops], call.logits[: 4 * hops]
        watch.go_back(hops)

    hear("alice", 150)
    for _ in range(20):  # less than a window each time, more than one in all
        hear("bob", 12, is_speech=False)
        go_back(150)
    hear("alice", 100)
    assert found == []
    hear("bob", WINDOW_HOPS)
    assert found == ["alice"]


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "some.takeover.npz"
    model(own_share=0.6).save(path)
    again = TakeoverModel.load(path)
    np.testing.assert_array_equal(again.weight, model().weight)
    assert (again.fingerprint, again.threshold, again.lag_s) == ("f" * 64, 0.3, 2.0)
    assert (again.own_share, again.usual) == (0.6, 0.9)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"{}"])
def test_a_damaged_model_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.takeover.npz"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"some\.takeover\.npz"):
        TakeoverModel.load(path)


def test_a_model_of_another_network_is_refused() -> None:
    with pytest.raises(ModelMismatch, match="takeover"):
        model().check_fingerprint("e" * 64)
