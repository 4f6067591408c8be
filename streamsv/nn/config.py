"""Every choice of the causal student in one dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from streamsv.config import from_mapping, to_mapping
from streamsv.errors import ConfigError

HOP_SAMPLES = 1280
"""Samples in one hop: 80 ms at 16 kHz."""
HOP_FRAMES = 4
"""Network frames in one hop: 20 ms each, so that frame pairs never straddle a hop."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "front_end": ("logmel", "waveform"),
    "memory": ("summary", "toeplitz", "none"),
    "activation": ("mfm", "gelu"),
    "pooling": ("attentive", "xi"),
}

_LEAST = {
    "mels": 1,
    "norm_prior_s": 0.0,
    "waveform_channels": 1,
    "dim": 1,
    "depth": 1,
    "summary_dim": 1,
    "toeplitz_length": 1,
    "toeplitz_filters": 1,
    "channel_hidden": 1,
    "half_rate_hidden": 0,
    "channel_groups": 1,
    "group_kernel": 1,
    "group_groups": 1,
    "pooling_dim": 1,
    "attention_dim": 1,
    "embedding": 1,
}

_GROUPED = {
    "channel_groups": ("dim", "channel_hidden", "half_rate_hidden"),
    "group_groups": ("dim",),
}


@dataclasses.dataclass(frozen=True, slots=True)
class ModelConfig:
    """The causal student, to the last choice.

    Attributes
    ----------
    front_end:
        ``logmel``, or ``waveform``: the 7-layer CNN of WavLM with a norm for each frame.
    mels, log_floor, norm_prior_s:
        Log-mel front end: bands, the floor added before the logarithm, and how many seconds of
        the training mean seed the running mean that is subtracted.
    waveform_channels:
        Width of the waveform CNN (512 in the paper).
    dim, depth, dropout:
        Width, number of blocks, dropout in training.
    token_kernels:
        The two depthwise kernels of the token mixing (7 and 3 in the paper).
    memory:
        What stands in for the global token MLP: ``summary``, ``toeplitz`` or ``none``; with
        ``summary_dim``, and ``toeplitz_length`` and ``toeplitz_filters``.
    activation:
        ``mfm`` (Max-Feature-Map) or ``gelu``.
    channel_hidden, half_rate_hidden, channel_groups:
        Channel MLPs at full and at half rate; ``half_rate_hidden`` 0 leaves the half rate out.
    group_kernel, group_groups:
        The grouped convolution of GCM; ``group_groups`` equal to ``dim`` is depthwise.
    pooling:
        ``attentive`` statistics or ``xi`` (posterior mean with a precision); ``pooling_dim``
        features, ``attention_dim`` hidden units of the net that weighs frames.
    embedding:
        Dimension of the embedding.
    """

    front_end: str = "logmel"
    mels: int = 80
    log_floor: float = 1e-5
    norm_prior_s: float = 0.3
    waveform_channels: int = 512
    dim: int = 256
    depth: int = 6
    dropout: float = 0.0
    token_kernels: tuple[int, int] = (7, 3)
    memory: str = "summary"
    summary_dim: int = 32
    toeplitz_length: int = 32
    toeplitz_filters: int = 2
    activation: str = "mfm"
    channel_hidden: int = 160
    half_rate_hidden: int = 80
    channel_groups: int = 1
    group_kernel: int = 3
    group_groups: int = 256
    pooling: str = "attentive"
    pooling_dim: int = 512
    attention_dim: int = 48
    embedding: int = 192

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"model.{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}.",
                    getattr(self, name),
                )
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"model.{name} must be at least {least}.", getattr(self, name))
        if not self.log_floor > 0:
            raise ConfigError("model.log_floor must be more than 0.", self.log_floor)
        if not 0 <= self.dropout < 1:
            raise ConfigError("model.dropout must be from 0 to below 1.", self.dropout)
        for name, widths in _GROUPED.items():
            groups = getattr(self, name)
            for width in widths:
                if getattr(self, width) % groups:
                    raise ConfigError(
                        f"model.{name} is {groups}; it must divide model.{width} "
                        f"({getattr(self, width)}).",
                        groups,
                    )
        if len(self.token_kernels) != 2 or min(self.token_kernels) < 1:
            raise ConfigError(
                "model.token_kernels must be two kernel lengths of at least 1, such as [7, 3].",
                str(self.token_kernels),
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON and YAML values."""
        return to_mapping(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The inverse of :meth:`to_dict`; an unknown key is a :class:`ConfigError`."""
        return from_mapping(cls, values, "model")
