from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamsv.nn.config import HOP_FRAMES, ModelConfig
from streamsv.nn.pooling import (
    AttentiveStatistics,
    Moments,
    XiPooling,
    merge_moments,
    scan_moments,
)

FRAMES = 400
CONFIG = ModelConfig(pooling_dim=24, attention_dim=8)


def frames(seed: int = 0, count: int = FRAMES) -> Tensor:
    """What a pooling takes: (2, count, pooling_dim), not negative."""
    generator = torch.Generator().manual_seed(seed)
    return torch.relu(torch.randn(2, count, CONFIG.pooling_dim, generator=generator))


def attentive(logit_deviation: float, x: Tensor) -> AttentiveStatistics:
    """A pooling whose logits over ``x`` have this standard deviation."""
    pool = AttentiveStatistics(CONFIG).eval()
    with torch.no_grad():
        factor = logit_deviation / float(pool.attend(x).std())
        for weight in pool.attend[2].parameters():
            weight.mul_(factor)
    return pool


def xi() -> XiPooling:
    pool = XiPooling(CONFIG)
    with torch.no_grad():
        pool.prior_mean.normal_()
        pool.prior_log_precision.normal_()
    return pool


def closed_form(logits: Tensor, x: Tensor) -> Tensor:
    """Okabe et al. 2018, equations 5 and 6, over axis 1."""
    weights = torch.softmax(logits, dim=1)
    mean = (weights * x).sum(dim=1)
    variance = (weights * (x - mean[:, None]) ** 2).sum(dim=1)
    return torch.cat([mean, torch.sqrt(variance.clamp(min=1e-4))], dim=1)


def moments(logits: Tensor, x: Tensor) -> Moments:
    """What :data:`Moments` says of the frames along axis 1, kept as one entry."""
    peak = logits.amax(dim=1, keepdim=True)
    weights = torch.exp(logits - peak)
    weight = weights.sum(dim=1, keepdim=True)
    mean = (weights * x).sum(dim=1, keepdim=True) / weight
    return peak, weight, mean, (weights * (x - mean) ** 2).sum(dim=1, keepdim=True)


def assert_same_moments(a: Moments, b: Moments, tolerance: float = 1e-9) -> None:
    for first, second in zip(a, b, strict=True):
        torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("logit_deviation", [1.0, 30.0])
def test_attentive_statistics_are_the_closed_form_after_every_hop(logit_deviation: float) -> None:
    x = frames()
    pool = attentive(logit_deviation, x)
    logits = pool.attend(x).double()
    pooled = pool(x)
    for hop in range(pooled.shape[1]):
        heard = (hop + 1) * HOP_FRAMES
        expected = closed_form(logits[:, :heard], x[:, :heard].double())
        assert (pooled[:, hop].double() - expected).abs().max() < 1e-5


@pytest.mark.parametrize("is_continued", [False, True])
def test_in_training_the_sums_are_the_scan_and_so_are_their_gradients(is_continued: bool) -> None:
    x = frames()
    pool = attentive(3.0, x)
    _, state = pool.step(frames(seed=2), pool.init_state(2))
    start = {k: v.detach() for k, v in state.items()} if is_continued else pool.init_state(2)
    found = []
    for is_training in (False, True):
        leaf = x.clone().requires_grad_()
        pooled, following = pool.train(is_training).step(leaf, start)
        gradient = torch.autograd.grad((pooled * torch.cos(pooled)).sum(), leaf)[0]
        _, further = pool.eval().step(frames(seed=3), following)
        found.append([pooled, gradient, further["mean"], further["spread"] / further["weight"]])
    for scanned, summed in zip(*found, strict=True):
        torch.testing.assert_close(summed, scanned, rtol=1e-3, atol=1e-4)


def test_a_prefix_that_counts_for_nothing_beside_the_rest_of_the_crop_stays_finite() -> None:
    pool = AttentiveStatistics(CONFIG).train()
    logits = torch.zeros(2, 3, HOP_FRAMES, CONFIG.pooling_dim)
    logits[:, 0] = -200.0
    logits.requires_grad_()
    values = frames(count=3 * HOP_FRAMES).reshape(logits.shape).requires_grad_()
    pooled, _ = pool._summed(logits, values, pool.init_state(2))
    assert torch.isfinite(pooled).all()
    for gradient in torch.autograd.grad(pooled.square().sum(), (logits, values)):
        assert torch.isfinite(gradient).all()


@torch.no_grad()
def test_logits_too_large_for_a_plain_exponential_do_no_harm() -> None:
    x = frames()
    for shift in (-500.0, 500.0):
        pool = attentive(30.0, x)
        before = pool(x)
        dict(pool.named_parameters())["attend.2.bias"].add_(shift)
        torch.testing.assert_close(pool(x), before, rtol=1e-3, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(split=st.integers(1, FRAMES - 1))
def test_moments_merge_exactly_at_any_split_in_either_order(split: int) -> None:
    x, logits = frames().double(), 30 * frames(seed=1).double()
    left = moments(logits[:, :split], x[:, :split])
    right = moments(logits[:, split:], x[:, split:])
    whole = moments(logits, x)
    assert_same_moments(merge_moments(left, right), whole)
    assert_same_moments(merge_moments(right, left), whole)


@torch.no_grad()
@settings(max_examples=10, deadline=None)
@given(split=st.integers(1, FRAMES // HOP_FRAMES - 1))
def test_two_halves_of_a_call_merge_into_the_state_of_the_call(split: int) -> None:
    x = frames()
    pool = attentive(5.0, x)
    names = ("peak", "weight", "mean", "spread")

    def heard(part: Tensor) -> Moments:
        _, state = pool.step(part, pool.init_state(2))
        return state[names[0]], state[names[1]], state[names[2]], state[names[3]]

    left, right = heard(x[:, : split * HOP_FRAMES]), heard(x[:, split * HOP_FRAMES :])
    assert_same_moments(merge_moments(left, right), heard(x), tolerance=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 33])
def test_the_parallel_scan_is_the_merge_one_after_another(length: int) -> None:
    x, logits = frames(0, length).double(), 30 * frames(1, length).double()
    entries = [moments(logits[:, t : t + 1], x[:, t : t + 1]) for t in range(length)]
    together = [torch.cat(column, dim=1) for column in zip(*entries, strict=True)]
    scanned = scan_moments((together[0], together[1], together[2], together[3]))
    for t, expected in enumerate(itertools.accumulate(entries, merge_moments)):
        peak, weight, mean, spread = (values[:, t : t + 1] for values in scanned)
        assert_same_moments((peak, weight, mean, spread), expected)


@torch.no_grad()
def test_the_order_in_which_frames_came_is_forgotten() -> None:
    x = frames()
    shuffled = x[:, torch.randperm(FRAMES)]
    for pool in (attentive(5.0, x), xi()):
        torch.testing.assert_close(pool(shuffled)[:, -1], pool(x)[:, -1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_xi_pooling_is_the_closed_form_posterior_after_every_hop() -> None:
    """Lee et al. 2021, equations 7 and 8: precisions add, means are weighted by them."""
    x = frames()
    pool = xi()
    precisions = torch.nn.functional.softplus(pool.judge(x).double()).square()
    prior = torch.exp(pool.prior_log_precision.double())
    pooled = pool(x).double()
    for hop in range(pooled.shape[1]):
        heard = (hop + 1) * HOP_FRAMES
        precision = prior + precisions[:, :heard].sum(dim=1)
        weighted = (precisions[:, :heard] * x[:, :heard].double()).sum(dim=1)
        mean = (prior * pool.prior_mean.double() + weighted) / precision
        expected = torch.cat([mean, torch.log(precision)], dim=1)
        assert (pooled[:, hop] - expected).abs().max() < 1e-5


@torch.no_grad()
def test_the_posterior_begins_at_the_prior() -> None:
    pool = xi()
    state = pool.init_state(3)
    for row in range(3):
        assert torch.equal(state["mean"][row, 0], pool.prior_mean)
        assert torch.equal(state["precision"][row, 0], torch.exp(pool.prior_log_precision))


@torch.no_grad()
def test_the_precision_grows_with_every_hop_of_evidence() -> None:
    log_precision = xi()(frames())[:, :, CONFIG.pooling_dim :]
    assert (log_precision.diff(dim=1) > 0).all()
