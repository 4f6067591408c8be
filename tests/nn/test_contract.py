"""The streaming contract, once for every layer, block, front end, pooling and whole model."""

from __future__ import annotations

import dataclasses
import importlib
import io
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import streamsv.nn
from streamsv.nn.config import HOP_FRAMES, HOP_SAMPLES, ModelConfig
from streamsv.nn.convolution import DepthwiseConv, GroupedConv, StridedConv
from streamsv.nn.frontend import LogMel, LogMelFrontEnd, NormedConv, WaveformFrontEnd
from streamsv.nn.guard import HeadConfig, SpeechHead
from streamsv.nn.memory import RunningSummary, ToeplitzMixing
from streamsv.nn.mixer import ChannelMixing, HalfRate, MixerBlock, TokenMixing
from streamsv.nn.pooling import AttentiveStatistics, XiPooling
from streamsv.nn.streaming import State, Streaming, stack_states, unstack_state
from streamsv.nn.student import Student

STATE_LIMIT_BYTES = 256 * 1024

SMALL = ModelConfig(
    mels=24,
    waveform_channels=16,
    dim=16,
    depth=2,
    summary_dim=6,
    toeplitz_length=7,
    channel_hidden=12,
    half_rate_hidden=8,
    group_groups=16,
    pooling_dim=20,
    attention_dim=6,
    embedding=10,
)
TOEPLITZ = dataclasses.replace(
    SMALL, memory="toeplitz", activation="gelu", channel_groups=4, group_groups=8, pooling="xi"
)
LOCAL = dataclasses.replace(SMALL, memory="none", half_rate_hidden=0, front_end="waveform")


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, and an example input for it: ``strides`` strides, ``features`` to a frame (none
    where the input is a plain row of samples)."""

    name: str
    build: Callable[[], Streaming]
    features: tuple[int, ...]
    strides: int = 24


CASES = [
    Case("depthwise", lambda: DepthwiseConv(5, 4), (5,)),
    Case("depthwise of one tap", lambda: DepthwiseConv(5, 1), (5,)),
    Case("strided", lambda: StridedConv(5, 6, kernel=4, stride=2), (5,)),
    Case("strided without overlap", lambda: StridedConv(5, 6, kernel=2, stride=2), (5,)),
    Case("strided, as over samples", lambda: StridedConv(1, 6, 10, 5, bias=False), (1,)),
    Case("grouped", lambda: GroupedConv(6, 3, groups=2), (6,)),
    Case("running summary", lambda: RunningSummary(6, 4), (6,)),
    Case("Toeplitz", lambda: ToeplitzMixing(6, length=5, filters=3), (6,)),
    Case("token mixing, summary", lambda: TokenMixing(SMALL), (16,)),
    Case("token mixing, Toeplitz", lambda: TokenMixing(TOEPLITZ), (16,)),
    Case("token mixing, local", lambda: TokenMixing(LOCAL), (16,)),
    Case("half rate", lambda: HalfRate(SMALL), (16,)),
    Case("channel mixing", lambda: ChannelMixing(SMALL), (16,)),
    Case("channel mixing, grouped", lambda: ChannelMixing(TOEPLITZ), (16,)),
    Case("channel mixing, full rate", lambda: ChannelMixing(LOCAL), (16,)),
    Case("block", lambda: MixerBlock(SMALL), (16,)),
    Case("block, Toeplitz", lambda: MixerBlock(TOEPLITZ), (16,)),
    Case("block, local", lambda: MixerBlock(LOCAL), (16,)),
    Case("log-mel", lambda: LogMel(SMALL), (1,), 12),
    Case("log-mel front end", lambda: LogMelFrontEnd(SMALL), (1,), 8),
    Case("normed convolution", lambda: NormedConv(4, 8, kernel=3, stride=2), (4,)),
    Case("waveform front end", lambda: WaveformFrontEnd(SMALL), (1,), 8),
    Case("attentive statistics", lambda: AttentiveStatistics(SMALL), (20,), 12),
    Case("xi pooling", lambda: XiPooling(SMALL), (20,), 12),
    Case("speech head", lambda: SpeechHead(HeadConfig(dim=8, measures=5, hidden=6)), (16,), 12),
    Case("student", lambda: Student(ModelConfig()), (), 5),
    Case("student, Toeplitz and xi", lambda: Student(TOEPLITZ), (), 6),
    Case("student, waveform and local", lambda: Student(LOCAL), (), 6),
]


class Example:
    """A layer in evaluation mode whose every weight and statistic is random, and inputs for it."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.case = case
        self.layer = case.build().eval()
        with torch.no_grad():
            for weight in self.layer.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.1)
        for module in self.layer.modules():
            if isinstance(module, LogMel):
                module.set_statistics(
                    torch.randn_like(module.mean) - 5, torch.rand_like(module.scale) + 1
                )

    def input(self, batch: int = 1, strides: int = 0, seed: int = 1) -> Tensor:
        frames = (strides or self.case.strides) * self.layer.stride
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, frames, *self.case.features, generator=generator) * 0.5

    @torch.no_grad()
    def whole(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y

    @torch.no_grad()
    def steps(
        self, x: Tensor, strides: list[int], state: State | None = None
    ) -> tuple[Tensor, State]:
        state = self.layer.init_state(x.shape[0]) if state is None else state
        outputs = []
        for chunk in torch.split(x, [n * self.layer.stride for n in strides], dim=1):
            y, state = self.layer.step(chunk, state)
            outputs.append(y)
        return torch.cat(outputs, dim=1), state

    def midway(self, batch: int = 1) -> State:
        """A state three strides into a stream."""
        return self.steps(self.input(batch, 3, seed=2), [3])[1]

    def influence(self, strides: int = 0, last: int = 0) -> Tensor:
        """bool (output frames, input frames): which outputs have a gradient from which inputs;
        the ``last`` outputs only, or all of them."""
        x = self.input(2, strides).requires_grad_()
        y = self.layer(x)
        pull = torch.randn_like(y)
        rows = []
        for frame in range(y.shape[1])[-last:]:
            target = (y[:, frame] * pull[:, frame]).sum()
            (gradient,) = torch.autograd.grad(target, x, retain_graph=True)
            rows.append(gradient.abs().reshape(*gradient.shape[:2], -1).sum(dim=(0, 2)) > 0)
        return torch.stack(rows)


def spans(influence: Tensor) -> tuple[Tensor, Tensor]:
    """How far each output that sees any input looks back and ahead, in input frames.

    Output j of n belongs to the inputs up to and including ``(j + 1) * inputs / n - 1``.
    """
    outputs, inputs = influence.shape
    seeing = influence.any(dim=1)
    ends = ((torch.arange(outputs) + 1) * inputs // outputs)[seeing]
    first = torch.stack([row.nonzero().min() for row in influence[seeing]])
    last = torch.stack([row.nonzero().max() for row in influence[seeing]])
    return ends - first, last + 1 - ends


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def example(request: pytest.FixtureRequest) -> Example:
    return Example(request.param)


@pytest.fixture(scope="module")
def influence(example: Example) -> Tensor:
    return example.influence()


def assert_same_state(a: State, b: State, tolerance: float = 0.0) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], rtol=tolerance, atol=tolerance, msg=name)


def test_every_streaming_class_is_on_the_list() -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(streamsv.nn.__path__, "streamsv.nn.")
    ]
    written = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Streaming)
        and value.__module__ == module.__name__
        and value.step is not Streaming.step
    }
    assert written == {type(case.build()) for case in CASES}


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_chunking_gives_what_the_whole_gives(example: Example, data: st.DataObject) -> None:
    total = example.case.strides
    cuts = sorted(data.draw(st.sets(st.integers(1, total - 1)), label="cuts"))
    chunks = [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]
    x = example.input(batch=2)
    stepped, state = example.steps(x, chunks)
    whole, final = example.steps(x, [total])
    assert stepped.dtype == torch.float32
    assert torch.equal(whole, example.whole(x))
    assert (stepped - whole).abs().max() < 1e-5
    assert_same_state(state, final, tolerance=1e-5)


def test_step_is_pure(example: Example) -> None:
    x, state = example.input(batch=2, strides=2), example.midway(batch=2)
    x_before, state_before = x.clone(), {name: tensor.clone() for name, tensor in state.items()}
    y, following = example.steps(x, [2], state)
    again, following_again = example.steps(x, [2], state)
    assert torch.equal(x, x_before)
    assert_same_state(state, state_before)
    assert torch.equal(y, again)
    assert_same_state(following, following_again)


def test_what_step_returns_shares_no_memory_with_what_it_was_given(example: Example) -> None:
    x, state = example.input(batch=2, strides=2), example.midway(batch=2)
    y, following = example.steps(x, [2], state)
    y_before = y.clone()
    following_before = {name: tensor.clone() for name, tensor in following.items()}
    for given_tensor in (x, *state.values()):
        given_tensor.fill_(torch.nan)
    assert torch.equal(y, y_before)
    assert_same_state(following, following_before)


def test_the_look_ahead_is_what_is_declared_and_none(example: Example, influence: Tensor) -> None:
    _, ahead = spans(influence)
    assert int(ahead.max()) == example.layer.lookahead == 0


def test_the_receptive_field_is_what_is_declared(example: Example, influence: Tensor) -> None:
    declared = example.layer.receptive_field
    if declared is None:
        last = example.influence(strides=8 * example.case.strides, last=1)
        assert last[0, : example.layer.stride].any()
    else:
        back, _ = spans(influence)
        assert influence.shape[1] >= declared + example.layer.stride
        assert int(back.max()) == declared


def test_streams_of_a_batch_never_see_each_other(example: Example) -> None:
    x = example.input(batch=3).requires_grad_()
    (gradient,) = torch.autograd.grad(example.layer(x)[1].sum(), x)
    assert gradient[1].abs().sum() > 0
    assert not gradient[0].any()
    assert not gradient[2].any()

    broken = x.detach().clone()
    broken[[0, 2]] = torch.nan
    assert torch.equal(example.whole(broken)[1], example.whole(x)[1])


def test_a_state_saved_to_a_file_goes_on_as_if_it_had_stayed(example: Example) -> None:
    x, state = example.input(batch=2, strides=2), example.midway(batch=2)
    torch_file, numpy_file = io.BytesIO(), io.BytesIO()
    torch.save(state, torch_file)
    written: dict[str, Any] = {name: tensor.numpy() for name, tensor in state.items()}
    np.savez(numpy_file, **written)
    torch_file.seek(0)
    numpy_file.seek(0)
    with np.load(numpy_file) as arrays:
        from_numpy = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    y, following = example.steps(x, [2], state)
    for restored in (torch.load(torch_file, weights_only=True), from_numpy):
        again, following_again = example.steps(x, [2], restored)
        assert torch.equal(again, y)
        assert_same_state(following_again, following)


def test_streams_at_different_phases_step_together_as_alone(example: Example) -> None:
    states, alone = [], []
    fresh = example.input(batch=3, strides=2, seed=3)
    for stream, age in enumerate((0, 1, 4)):
        state = example.layer.init_state(1)
        if age:
            _, state = example.steps(example.input(strides=age, seed=10 + stream), [age], state)
        states.append(state)
        alone.append(example.steps(fresh[stream : stream + 1], [2], state))
    stacked = stack_states(states)
    for state, unstacked in zip(states, unstack_state(stacked), strict=True):
        assert_same_state(unstacked, state)
    together, following = example.steps(fresh, [2], stacked)
    assert (together - torch.cat([y for y, _ in alone])).abs().max() < 1e-5
    for (_, state), unstacked in zip(alone, unstack_state(following), strict=True):
        assert_same_state(unstacked, state, tolerance=1e-5)


def test_the_state_never_changes_its_names_shapes_or_type(example: Example) -> None:
    state = example.layer.init_state(3)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    assert all(shape[0] == 3 for shape in shapes.values())
    for strides in (1, 2, example.case.strides):
        _, state = example.steps(example.input(3, strides), [strides], state)
        assert {name: tensor.shape for name, tensor in state.items()} == shapes
        assert all(tensor.dtype == torch.float32 for tensor in state.values())
        assert all(tensor.isfinite().all() for tensor in state.values())


def test_every_stream_begins_in_the_same_state(example: Example) -> None:
    (alone,) = unstack_state(example.layer.init_state(1))
    for state in unstack_state(example.layer.init_state(3)):
        assert_same_state(state, alone)


def test_the_state_stays_float32_under_lower_precision(example: Example) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = example.midway()
    assert all(tensor.dtype == torch.float32 for tensor in state.values())


@pytest.mark.parametrize("config", [SMALL, TOEPLITZ, LOCAL], ids=["summary", "Toeplitz", "local"])
@pytest.mark.parametrize("hops", [1, 2, 7])
def test_n_hops_give_exactly_four_n_frames_and_n_embeddings(config: ModelConfig, hops: int) -> None:
    student = Student(config).eval()
    details, _ = student.step_details(torch.zeros(2, hops * HOP_SAMPLES), student.init_state(2))
    frames = hops * HOP_FRAMES
    assert [tuple(layer.shape) for layer in details.hidden] == [(2, frames, config.dim)] * 3
    assert details.frames.shape == (2, frames, config.pooling_dim)
    assert details.embedding.shape == (2, hops, config.embedding)


def test_the_default_model_keeps_at_most_256_kib_for_a_stream() -> None:
    state = Student(ModelConfig()).init_state(1)
    assert sum(tensor.nbytes for tensor in state.values()) <= STATE_LIMIT_BYTES
