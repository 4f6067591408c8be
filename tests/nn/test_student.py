from __future__ import annotations

import dataclasses

import pytest
import torch

from streamsv.nn.config import HOP_SAMPLES, ModelConfig
from streamsv.nn.student import Student

SMALL = ModelConfig(
    mels=24,
    dim=16,
    depth=2,
    channel_hidden=12,
    half_rate_hidden=8,
    group_groups=16,
    pooling_dim=20,
    attention_dim=6,
    embedding=10,
)
XI = dataclasses.replace(SMALL, pooling="xi")


@torch.no_grad()
@pytest.mark.parametrize("config", [SMALL, XI], ids=["attentive", "xi"])
@pytest.mark.parametrize("level", [0.0, 1e-8, 0.1, 1.0])
def test_embeddings_have_unit_length_from_silence_to_full_scale(
    config: ModelConfig, level: float
) -> None:
    embeddings = Student(config).eval()(torch.randn(2, 6 * HOP_SAMPLES).clamp(-1, 1) * level)
    assert embeddings.shape == (2, 6, 10)
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(2, 6))


@torch.no_grad()
def test_only_a_pooling_with_a_posterior_gives_a_precision_and_it_grows() -> None:
    pcm = torch.randn(1, 6 * HOP_SAMPLES) * 0.1
    for config in (SMALL, XI):
        student = Student(config).eval()
        details, _ = student.step_details(pcm, student.init_state(1))
        if config.pooling == "xi":
            assert details.log_precision is not None
            assert (details.log_precision.diff(dim=1) > 0).all()
        else:
            assert details.log_precision is None


def test_every_weight_of_the_default_takes_part() -> None:
    student = Student(ModelConfig(depth=2)).train()
    pull = torch.randn(2, 10, 192)
    (student(torch.randn(2, 10 * HOP_SAMPLES) * 0.1) * pull).sum().backward()
    unused = [
        name
        for name, weight in student.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert unused == []


def test_the_names_of_the_weights_are_those_of_saved_models() -> None:
    names = Student(ModelConfig(depth=1)).state_dict().keys()
    assert {
        "front_end.logmel.mean",
        "front_end.subsample.linear.weight",
        "blocks.0.tokens.wide.weight",
        "blocks.0.tokens.memory.inward.weight",
        "blocks.0.channels.full.inward.weight",
        "blocks.0.channels.slow.mlp.outward.bias",
        "block_weights",
        "pool.attend.2.weight",
        "embed.bias",
    } <= names
