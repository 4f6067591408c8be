"""Pooling over everything heard so far, as exact recursions of fixed size.

A pooling takes frames (batch, frames, dim), four to a hop, and gives one vector for each hop:
what the offline pooling of all frames up to there would give. The frames of a hop are summarized
side by side, the hops are merged by a parallel scan (Hillis and Steele 1986), and the result is
merged with the state; merging is exact, so calls can be split, paused and joined.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsv.nn.config import HOP_FRAMES, ModelConfig
from streamsv.nn.products import dense, is_exporting
from streamsv.nn.streaming import State, Streaming

Moments = tuple[Tensor, Tensor, Tensor, Tensor]
"""(peak, weight, mean, spread): for weights exp(e), peak = max e, weight = sum exp(e - peak),
mean the weighted mean, spread = sum exp(e - peak) (x - mean)^2."""


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of two disjoint sets of frames from the moments of each.

    Both are rescaled to the larger peak (Milakov and Gimelshein 2018) and joined by the pairwise
    update of Chan, Golub and LeVeque (1979); no subtraction of large squares.
    """
    peak = torch.maximum(a[0], b[0])
    scale_a, scale_b = torch.exp(a[0] - peak), torch.exp(b[0] - peak)
    weight_a, weight_b = a[1] * scale_a, b[1] * scale_b
    weight = weight_a + weight_b
    share = weight_b / weight
    delta = b[2] - a[2]
    mean = a[2] + delta * share
    spread = a[3] * scale_a + b[3] * scale_b + delta * delta * weight_a * share
    return peak, weight, mean, spread


def scan_moments(moments: Moments) -> Moments:
    """Inclusive scan over axis 1: entry t holds the merge of entries 0..t."""
    length = moments[0].shape[1]
    step = 1
    while step < length:
        peak, weight, mean, spread = moments
        merged = merge_moments(
            (peak[:, :-step], weight[:, :-step], mean[:, :-step], spread[:, :-step]),
            (peak[:, step:], weight[:, step:], mean[:, step:], spread[:, step:]),
        )
        moments = (
            torch.cat([peak[:, :step], merged[0]], dim=1),
            torch.cat([weight[:, :step], merged[1]], dim=1),
            torch.cat([mean[:, :step], merged[2]], dim=1),
            torch.cat([spread[:, :step], merged[3]], dim=1),
        )
        step *= 2
    return moments


def frame_scores(net: nn.Sequential, x: Tensor) -> Tensor:
    """The small net that weighs frames: linear, ReLU, linear."""
    inward, _, outward = cast("tuple[nn.Linear, nn.ReLU, nn.Linear]", tuple(net))
    hidden = torch.relu(dense(x, inward.weight, inward.bias))
    return dense(hidden, outward.weight, outward.bias)


class AttentiveStatistics(Streaming):
    """Attentive statistics pooling (Okabe et al. 2018) without the utterance-wide context.

    Each channel weighs frames by exp(e[t]); the output is the weighted mean and standard
    deviation of relu features: (batch, hops, 2 * pooling_dim). Logits depend on their own frame
    only, as an O(1) recursion requires.
    """

    stride = HOP_FRAMES
    receptive_field = None
    _EMPTY_PEAK = -1e30

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.size = config.pooling_dim
        self.features = 2 * config.pooling_dim
        self.attend = nn.Sequential(
            nn.Linear(config.pooling_dim, config.attention_dim),
            nn.ReLU(),
            nn.Linear(config.attention_dim, config.pooling_dim),
        )

    def init_state(self, batch: int) -> State:
        """``peak``, ``weight``, ``mean``, ``spread``: (batch, 1, pooling_dim)."""
        state = {name: self.zeros(batch, 1, self.size) for name in ("weight", "mean", "spread")}
        return {"peak": self.zeros(batch, 1, self.size) + self._EMPTY_PEAK, **state}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, 4 hops, pooling_dim) -> (batch, hops, 2 * pooling_dim)."""
        batch, frames, size = x.shape
        shape = (batch, frames // HOP_FRAMES, HOP_FRAMES, size)
        logits = frame_scores(self.attend, x).float()
        if is_exporting():
            return self._one_hop(logits, x.float(), state)
        if self.training:
            return self._summed(logits.reshape(shape), x.float().reshape(shape), state)
        logits = logits.reshape(shape)
        values = x.float().reshape(shape)
        peak = logits.amax(dim=2)
        weights = torch.exp(logits - peak[:, :, None])
        weight = weights.sum(dim=2)
        mean = (weights * values).sum(dim=2) / weight
        spread = (weights * (values - mean[:, :, None]) ** 2).sum(dim=2)
        hops = scan_moments((peak, weight, mean, spread))
        before = (state["peak"], state["weight"], state["mean"], state["spread"])
        peak, weight, mean, spread = merge_moments(before, hops)
        deviation = torch.sqrt(torch.clamp(spread / weight, min=1e-4))
        following = {
            "peak": peak[:, -1:],
            "weight": weight[:, -1:],
            "mean": mean[:, -1:],
            "spread": spread[:, -1:],
        }
        return torch.cat([mean, deviation], dim=2), following

    @staticmethod
    def _summed(logits: Tensor, values: Tensor, state: State) -> tuple[Tensor, State]:
        """The same by plain cumulative sums, for training: the scan's gradient takes a fifth of a
        step's time.

        One peak and one origin for the whole crop, so a logit 80 below the crop's largest counts
        for nothing and the spread loses digits over an hour: good for crops, not for streams.
        """
        peak = torch.maximum(state["peak"], logits.amax(dim=(1, 2))[:, None]).detach()
        weights = torch.exp(logits - peak[:, :, None])
        offsets = values - state["mean"][:, :, None]
        pulls = weights * offsets
        kept = torch.exp(state["peak"] - peak)
        before = state["weight"] * kept
        weight = (before + torch.cumsum(weights.sum(dim=2), dim=1)).clamp(min=1e-30)
        shift = torch.cumsum(pulls.sum(dim=2), dim=1) / weight
        squares = torch.cumsum((pulls * offsets).sum(dim=2), dim=1)
        spread = state["spread"] * kept + squares - weight * shift.square()
        mean = state["mean"] + shift
        deviation = torch.sqrt(torch.clamp(spread / weight, min=1e-4))
        following = {
            "peak": peak,
            "weight": weight[:, -1:],
            "mean": mean[:, -1:],
            "spread": spread[:, -1:],
        }
        return torch.cat([mean, deviation], dim=2), following

    @staticmethod
    def _one_hop(logits: Tensor, values: Tensor, state: State) -> tuple[Tensor, State]:
        """One hop merged with the state without moments of its own, for the exported graph.

        The update of mean and spread is that of West (1979), for all frames of the hop at once.
        """
        peak = torch.maximum(state["peak"], logits.amax(dim=1, keepdim=True))
        weights = torch.exp(logits - peak)
        kept = torch.exp(state["peak"] - peak)
        weight = state["weight"] * kept + weights.sum(dim=1, keepdim=True)
        offsets = values - state["mean"]
        pulls = weights * offsets
        shift = pulls.sum(dim=1, keepdim=True) / weight
        mean = state["mean"] + shift
        spread = state["spread"] * kept + (pulls * (offsets - shift)).sum(dim=1, keepdim=True)
        deviation = torch.sqrt(torch.clamp(spread / weight, min=1e-4))
        following = {"peak": peak, "weight": weight, "mean": mean, "spread": spread}
        return torch.cat([mean, deviation], dim=2), following


class XiPooling(Streaming):
    """The xi-vector's posterior mean and precision (Lee et al. 2021).

    Each frame offers a point estimate x[t] with precision L[t] = softplus(net(x[t]))^2; with a
    Gaussian prior (mean m0, precision exp(p0)) the posterior precision is exp(p0) + sum L and
    its mean the precision-weighted mean. Output: (batch, hops, 2 * pooling_dim), the mean and
    the logarithm of the precision, which grows with the evidence.
    """

    stride = HOP_FRAMES
    receptive_field = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.size = config.pooling_dim
        self.features = config.pooling_dim
        self.judge = nn.Sequential(
            nn.Linear(config.pooling_dim, config.attention_dim),
            nn.ReLU(),
            nn.Linear(config.attention_dim, config.pooling_dim),
        )
        self.prior_mean = nn.Parameter(torch.zeros(config.pooling_dim))
        self.prior_log_precision = nn.Parameter(torch.zeros(config.pooling_dim))

    def init_state(self, batch: int) -> State:
        """``precision`` and ``mean``: (batch, 1, pooling_dim), the prior's."""
        empty = self.zeros(batch, 1, self.size)
        return {
            "precision": empty + torch.exp(self.prior_log_precision),
            "mean": empty + self.prior_mean,
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(batch, 4 hops, pooling_dim) -> (batch, hops, 2 * pooling_dim)."""
        batch, frames, size = x.shape
        shape = (batch, frames // HOP_FRAMES, HOP_FRAMES, size)
        precisions = F.softplus(frame_scores(self.judge, x).float()).square().reshape(shape)
        offsets = x.float().reshape(shape) - state["mean"][:, :, None]
        fresh = torch.cumsum(precisions.sum(dim=2), dim=1)
        precision = state["precision"] + fresh
        pulled = torch.cumsum((precisions * offsets).sum(dim=2), dim=1)
        mean = state["mean"] + pulled / precision
        following = {"precision": precision[:, -1:], "mean": mean[:, -1:]}
        return torch.cat([mean, torch.log(precision)], dim=2), following
