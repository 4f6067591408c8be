from __future__ import annotations

import pytest
import torch

from streamsv.nn.memory import RunningSummary, ToeplitzMixing, running_mean, toeplitz


def test_the_running_mean_is_the_mean_after_each_frame() -> None:
    x = torch.randn(2, 50, 3)
    none = torch.zeros(2, 1, 3)
    means, count = running_mean(x, none, torch.zeros(2, 1, 1))
    expected = x.double().cumsum(dim=1) / torch.arange(1, 51)[:, None]
    torch.testing.assert_close(means.double(), expected, rtol=1e-5, atol=1e-6)
    assert count.flatten().tolist() == [50, 50]


def test_the_running_mean_still_moves_after_a_day() -> None:
    """A day at 100 frames a second; a float32 sum of the values would stand still."""
    day = 24 * 3600 * 100
    mean, count = torch.full((1, 1, 1), 10.0), torch.full((1, 1, 1), float(day))
    x = torch.full((1, 800, 1), 30.0)
    for _ in range(100):
        means, count = running_mean(x, mean, count)
        mean = means[:, -1:]
    heard = 100 * 800
    assert float(count) == day + heard
    assert float(mean) == pytest.approx((10.0 * day + 30.0 * heard) / (day + heard), rel=1e-5)


@torch.no_grad()
def test_the_running_summary_is_the_mean_of_all_so_far_and_the_prior_frames() -> None:
    memory = RunningSummary(8, 4, prior_frames=8.0)
    x = torch.randn(1, 9, 8)
    fed = torch.relu(memory.inward(x))
    mean = fed.cumsum(dim=1) / (8 + torch.arange(1, 10)[:, None])
    torch.testing.assert_close(memory(x), memory.outward(mean), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_toeplitz_mixing_is_two_lower_triangular_matrices_over_time() -> None:
    frames, length, filters = 12, 5, 3
    memory = ToeplitzMixing(6, length, filters)
    x = torch.randn(2, frames, 6)

    def matrix(taps: torch.Tensor) -> torch.Tensor:
        built = torch.zeros(frames, frames)
        for t in range(frames):
            for s in range(max(0, t - length + 1), t + 1):
                built[t, s] = taps[length - 1 - (t - s)]
        return built

    expected = torch.zeros_like(x)
    for index in range(filters):
        hidden = torch.relu(matrix(memory.inward[index, 0]) @ x)
        expected += matrix(memory.outward[0, index]) @ hidden
    torch.testing.assert_close(memory(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("length", "frames"), [(1, 1), (5, 4), (4, 9), (149, 4)])
def test_a_toeplitz_matrix_is_a_convolution_where_the_filter_fits(length: int, frames: int) -> None:
    filters, x = torch.randn(3, length).double(), torch.randn(2, length - 1 + frames).double()
    expected = torch.nn.functional.conv1d(x[:, None], filters[:, None])
    torch.testing.assert_close(torch.einsum("fts,bs->bft", toeplitz(filters, frames), x), expected)


@torch.no_grad()
def test_toeplitz_mixing_of_a_long_clip_needs_no_matrix_of_its_length() -> None:
    memory = ToeplitzMixing(2, length=149, filters=2)
    x = torch.randn(1, 20_000, 2)
    whole = memory(x)
    state, pieces = memory.init_state(1), []
    for piece in x.split(300, dim=1):
        y, state = memory.step(piece, state)
        pieces.append(y)
    torch.testing.assert_close(whole, torch.cat(pieces, dim=1))
