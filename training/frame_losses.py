"""Hidden states of the teacher as targets, each through a head that is discarded afterwards.

A head of its own, because what serves the pooling does not serve as a copy of the teacher's
frames: asked to be both, pooled features imitate the frames worse than zeros do.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of (batch, frames) over what is valid, 0 if nothing is."""
    mask = valid.float()
    return (values * mask).sum() / mask.sum().clamp(min=1.0)


def huber_loss(given: Tensor, wanted: Tensor, valid: Tensor, spread: Tensor) -> Tensor:
    """Huber loss in units of the teacher's ``spread`` (features,), over valid frames.

    ``given`` and ``wanted`` (batch, frames, features), ``valid`` (batch, frames), paired already.
    """
    error = F.smooth_l1_loss(given.float() / spread, wanted / spread, reduction="none")
    return masked_mean(error.mean(dim=2), valid)


def hidden_loss(given: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error over valid frames and features, as Heo et al. 2025 use for Table I."""
    return masked_mean((given.float() - wanted).square().mean(dim=2), valid)


def distilhubert_loss(given: Tensor, wanted: Tensor, valid: Tensor, cosine: float) -> Tensor:
    """DistilHuBERT's loss: mean |p - t| - cosine * mean of log sigmoid(cos(p, t)).

    Chang et al. 2022, eq. 1.
    Both terms are averages over valid frames. Summed over frames, as released, the second grows
    with the clip and drowns the first.
    """
    given = given.float()
    distance = (given - wanted).abs().mean(dim=2)
    angle = F.logsigmoid(F.cosine_similarity(given, wanted, dim=2))
    return masked_mean(distance - cosine * angle, valid)


class FrameHeads(nn.Module):
    """The discarded heads: from the student's last state to what each loss compares.

    ``frames`` and ``hidden`` are linear; ``hidden`` is left out where the widths agree, as in the
    paper. ``layers`` are Linear, GELU, Linear, one for each of the teacher's layers.
    """

    def __init__(
        self, dim: int, features: tuple[int, ...], frames: bool, hidden: bool, layers: bool
    ) -> None:
        super().__init__()
        last = features[-1]
        self.frames = nn.Linear(dim, last) if frames else None
        self.hidden: nn.Module | None = None
        if hidden:
            self.hidden = nn.Linear(dim, last) if dim != last else nn.Identity()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, width))
            for width in (features if layers else ())
        )
