from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamsv.errors import UnsupportedAudio
from streamsv.nn.macs import count_macs
from streamsv.nn.paper import PaperConfig, PaperStudent
from streamsv.nn.paper.student import LayerSum

SMALL = PaperConfig(
    depth=2,
    dim=32,
    frames=19,
    groups=4,
    token_hidden=76,
    front_end_channels=8,
    back_end_channels=16,
    se_bottleneck=8,
    pooled_channels=24,
    attention_hidden=12,
    embedding=10,
)


def clips(config: PaperConfig, batch: int = 2) -> Tensor:
    return 0.1 * torch.randn(batch, config.clip_samples)


@pytest.mark.parametrize(
    ("depth", "parts", "scalars", "millions", "gmac"),
    [(5, 33_037_237, 6, 33.04, 11.87), (17, 77_988_865, 18, 77.99, 19.46)],
)
def test_the_whole_has_the_paper_s_size_and_cost(
    depth: int, parts: int, scalars: int, millions: float, gmac: float
) -> None:
    with torch.device("meta"):
        student = PaperStudent(PaperConfig(depth=depth))
        pcm = torch.zeros(1, 48_000)
    size = sum(parameter.numel() for parameter in student.parameters())
    assert sum(parameter.numel() for parameter in student.layer_sum.parameters()) == scalars
    assert sum(parameter.numel() for parameter in student.final_norm.parameters()) == 2_048
    assert size == parts + scalars
    assert round(size / 1e6, 2) == millions
    assert round(count_macs(student, pcm) / 1e9, 2) == gmac


def test_three_seconds_become_six_states_and_one_embedding() -> None:
    student = PaperStudent().eval()
    with torch.no_grad():
        states = student.hidden_states(torch.randn(1, 48_000))
        embedding = student.embed(states)
    assert [state.shape for state in states] == [(1, 149, 1024)] * 6
    assert embedding.shape == (1, 192)
    assert embedding.isfinite().all()


def test_the_states_are_each_block_s_input_and_the_normalized_output() -> None:
    student = PaperStudent(SMALL).eval()
    first, second, last = student.hidden_states(clips(SMALL))
    torch.testing.assert_close(student.blocks[0](first), second)
    torch.testing.assert_close(student.final_norm(student.blocks[1](second)), last)


def test_forward_is_the_embedding_of_the_hidden_states() -> None:
    student = PaperStudent(SMALL).eval()
    pcm = clips(SMALL)
    torch.testing.assert_close(student(pcm), student.embed(student.hidden_states(pcm)))


def test_the_layer_sum_is_free_of_any_softmax() -> None:
    layer_sum = LayerSum(3)
    with torch.no_grad():
        layer_sum.weight.copy_(torch.tensor([2.0, 0.0, -3.0]))
    states = [torch.randn(1, 4, 5) for _ in range(3)]
    torch.testing.assert_close(layer_sum(states), 2 * states[0] - 3 * states[2])


def test_only_the_last_channel_mixing_goes_without_dropout() -> None:
    student = PaperStudent(PaperConfig.from_dict(SMALL.to_dict() | {"depth": 3}))
    assert [block.channel_dropout.p for block in student.blocks] == [0.1, 0.1, 0.0]
    assert [block.token_dropout.p for block in student.blocks] == [0.1, 0.1, 0.1]


def test_an_early_frame_depends_on_the_last_samples_of_the_clip() -> None:
    student = PaperStudent(SMALL).eval()
    pcm = clips(SMALL, batch=1).requires_grad_()
    student.hidden_states(pcm)[-1][0, 0, :4].sum().backward()
    assert pcm.grad is not None
    assert pcm.grad[0, -320:].abs().max() > 0


def test_both_losses_reach_every_parameter_that_no_norm_or_softmax_cancels() -> None:
    student = PaperStudent(SMALL).double().eval()
    states = student.hidden_states(clips(SMALL).double())
    embedding = student.embed(states)
    distillation = (states[-1] * torch.randn_like(states[-1])).sum()
    (distillation + (embedding * torch.randn_like(embedding)).sum()).backward()
    largest = {
        name: 0.0 if parameter.grad is None else parameter.grad.abs().max().item()
        for name, parameter in student.named_parameters()
    }
    # One number for all channels of a frame, before a norm over channels; and one for all frames of
    # a channel, before a softmax over frames.
    cancelled = {"blocks.1.local_global.token_mlp.2.bias", "back_end.pooling.attention.4.bias"}
    assert {name for name, gradient in largest.items() if gradient < 1e-10} == cancelled


@pytest.mark.parametrize("shape", [(2, 47_999), (2, 48_320), (48_000,), (1, 1, 48_000)])
def test_a_clip_of_another_length_or_shape_is_refused_with_what_to_do(
    shape: tuple[int, ...],
) -> None:
    with torch.device("meta"):
        student = PaperStudent()
    with pytest.raises(UnsupportedAudio, match=r"exactly 48000 samples \(3 s at 16 kHz\).*cut"):
        student(torch.zeros(shape))


def test_integer_samples_are_refused_with_what_to_do() -> None:
    with torch.device("meta"):
        student = PaperStudent()
    with pytest.raises(UnsupportedAudio, match="convert them to float32"):
        student(torch.zeros(1, 48_000, dtype=torch.int16))
