"""Every dimension of the paper's student; the defaults are the released five-block model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from streamsv.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class PaperConfig:
    """The shape of a :class:`~streamsv.nn.paper.student.PaperStudent`.

    The authors released ``depth`` 5 and 17. Raises :class:`~streamsv.errors.ConfigError` for a
    value that cannot be built.
    """

    depth: int = 5
    """Number of SV-Mixer blocks."""
    dim: int = 1024
    """Width of the hidden states."""
    frames: int = 149
    """Frames of 20 ms in a clip; the token MLP is tied to this number."""
    groups: int = 8
    """Groups of channels in multi-scale and group channel mixing."""
    token_hidden: int = 596
    """Hidden width of the token MLP; 4 * ``frames`` in the paper."""
    expansion: int = 4
    """Hidden width of the grouped channel MLPs, as a multiple of ``dim``."""
    dropout: float = 0.1
    """Dropout probability in training, in [0, 1)."""
    front_end_channels: int = 512
    """Channels of the waveform convolutions."""
    back_end_channels: int = 512
    """Channels of the SE-Res2 blocks."""
    res2_scale: int = 4
    """Slices of channels in an SE-Res2 block."""
    se_bottleneck: int = 128
    """Hidden width of the squeeze-excitation gates."""
    pooled_channels: int = 1536
    """Channels that attentive statistics pooling sees."""
    attention_hidden: int = 256
    """Hidden width of the pooling attention."""
    embedding: int = 192
    """Width of the embedding."""

    HOP_SAMPLES: ClassVar[int] = 320
    """Samples between two frames: the product of the front end's strides, 20 ms at 16 kHz."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check(field.name)
        for name, divisor in (("dim", "groups"), ("back_end_channels", "res2_scale")):
            whole, parts = getattr(self, name), getattr(self, divisor)
            if whole % parts:
                raise ConfigError(
                    f"{name} is {whole}, which {divisor} = {parts} does not divide; "
                    f"choose a {name} that is a multiple of {parts}.",
                    whole,
                )

    def _check(self, name: str) -> None:
        value = getattr(self, name)
        if name == "dropout":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            is_allowed, allowed = is_number and 0 <= value < 1, "a number in [0, 1)"
        else:
            least = 2 if name in {"frames", "res2_scale"} else 1
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            is_allowed, allowed = is_whole and value >= least, f"a whole number from {least} up"
        if not is_allowed:
            raise ConfigError(f"{name} is {value!r}; it must be {allowed}.", value)

    @property
    def clip_samples(self) -> int:
        """Samples in a clip: 48,000 (3 s at 16 kHz) for 149 frames.

        The front end has a receptive field of 400 samples and no padding, so n frames come of
        400 + 320 (n - 1) samples or up to 319 more; the released code cuts 320 (n + 1).
        """
        return self.HOP_SAMPLES * (self.frames + 1)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON or YAML."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The config that :meth:`to_dict` described; what is absent takes its default.

        Raises :class:`~streamsv.errors.ConfigError` for a key that is not a field or a value that
        is not allowed.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(key) for key in fields if key not in known)
        if unknown:
            raise ConfigError(
                f"Unknown key {', '.join(unknown)} in the paper student's config; "
                f"remove it or use one of: {', '.join(known)}.",
                ", ".join(unknown),
            )
        return cls(**fields)
