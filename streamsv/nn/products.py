"""Products, filters and the like in the two shapes that they are wanted in.

Training wants what autocast and torch.compile know best. The exported graph wants what
onnxruntime is fast at: products of two dimensions, all frames of all streams in the rows, whose
bias or residual the product itself takes in; and depthwise filters as convolutions over four
dimensions, for which it has kernels of its own. The numbers are the same, and the tests of the
export hold them to it. Each function here is one such pair.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

_is_counting = False


def is_exporting() -> bool:
    """Whether the shape for the export is wanted."""
    return _is_counting or torch.compiler.is_exporting()


@contextlib.contextmanager
def as_exported() -> Iterator[None]:
    """Run a network in the shape of its export, one hop at a time; for counting. Not reentrant."""
    global _is_counting
    _is_counting = True
    try:
        yield
    finally:
        _is_counting = False


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product x W^T + b: (batch, frames, features_in) and (features_out, features_in)."""
    if not is_exporting():
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[2])
    return F.linear(rows, weight, bias).reshape(-1, x.shape[1], weight.shape[0])


def dense_onto(base: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The sum base + x W^T, for the export: the product begins from ``base`` in place of a bias."""
    _, frames, features = base.shape
    rows = torch.addmm(base.reshape(-1, features), x.reshape(-1, x.shape[2]), weight.t())
    return rows.reshape(-1, frames, features)


def larger_of_two(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Max-Feature-Map of :func:`dense`: the larger of the first and the second half of features."""
    if not is_exporting():
        first, second = F.linear(x, weight, bias).chunk(2, dim=2)
        return torch.maximum(first, second)
    half = weight.shape[0] // 2
    rows = x.reshape(-1, x.shape[2])
    larger = torch.maximum(
        F.linear(rows, weight[:half], bias[:half]), F.linear(rows, weight[half:], bias[half:])
    )
    return larger.reshape(-1, x.shape[1], half)


def held_for_two(pairs: Tensor) -> Tensor:
    """Pairs, from the one before the first frame on, at the two frames that carry each.

    (batch, 1 + n, features) -> (batch, 2 n, features): p0 p1 p1 p2 p2 ... p[n].
    """
    if not is_exporting():
        return pairs.repeat_interleave(2, dim=1)[:, 1:-1]
    frames = torch.arange(1, 2 * pairs.shape[1] - 1, device=pairs.device)
    return torch.index_select(pairs, 1, frames // 2)


def to_planes(x: Tensor) -> Tensor:
    """(batch, frames, channels) -> a plane for each channel, (batch, channels, 1, frames)."""
    return x[:, None].permute(0, 3, 1, 2)


def from_planes(planes: Tensor) -> Tensor:
    """The inverse of :func:`to_planes`."""
    return planes.permute(0, 2, 3, 1).squeeze(1)


def filter_planes(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A filter for each channel, (kernel, channels), where it fits wholly: kernel - 1 frames go."""
    kernel, channels = weight.shape
    return F.conv2d(planes, weight.t().reshape(channels, 1, 1, kernel), bias, groups=channels)


def filter_frames(padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """:func:`filter_planes` on (batch, frames, channels); in training a sum of shifted inputs."""
    if is_exporting():
        return from_planes(filter_planes(to_planes(padded), weight, bias))
    kernel = weight.shape[0]
    frames = padded.shape[1] - kernel + 1
    y = bias + padded[:, :frames] * weight[0]
    for k in range(1, kernel):
        y = y + padded[:, k : k + frames] * weight[k]
    return y
