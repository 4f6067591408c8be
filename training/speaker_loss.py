"""AAM-softmax over the speakers of the training set, with the usual refinements."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def margin_cosines(
    cosines: Tensor, labels: Tensor, margin: float, hard: int, hard_margin: float
) -> Tensor:
    """Cosines (rows, classes) made harder to tell apart.

    The label's class becomes cos(theta + margin) (Deng et al. 2019, ArcFace), falling on in a
    straight line where theta + margin would pass pi; the ``hard`` most similar wrong classes
    become cos(theta - hard_margin) (Zhao et al. 2021, inter-top-K penalty).
    """
    classes = cosines.shape[1]
    is_label = F.one_hot(labels, classes).bool()
    sines = (1.0 - cosines.square()).clamp(min=1e-7).sqrt()
    penalized = cosines * math.cos(margin) - sines * math.sin(margin)
    straight = cosines - math.sin(math.pi - margin) * margin
    penalized = torch.where(cosines > math.cos(math.pi - margin), penalized, straight)
    result = torch.where(is_label, penalized, cosines)
    hard = min(hard, classes - 1)
    if hard and hard_margin:
        rivals = cosines.detach().masked_fill(is_label, -2.0).topk(hard, dim=1).indices
        is_rival = torch.zeros_like(is_label).scatter(1, rivals, True)
        angle = torch.acos(cosines.clamp(-1 + 1e-6, 1 - 1e-6))
        nearer = torch.cos((angle - hard_margin).clamp(min=0.0))
        result = torch.where(is_rival, nearer, result)
    return result


class SpeakerHead(nn.Module):
    """The classes' centers, and the loss; discarded after training.

    ``sub_centers`` centers a class, the nearest counting (Deng et al. 2020), so that noisy labels
    and channels may have one of their own. ``class_weights`` (classes,) or ``None``. The centers
    begin at ``start`` (classes, dim), where a distilled student's embeddings lie already, or at
    random. Sub-centers that began at one place would share every gradient and stay one; all but
    the first are therefore moved by 0.01 of their length.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        dim: int,
        classes: int,
        sub_centers: int = 1,
        class_weights: Tensor | None = None,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.sub_centers = sub_centers
        self.centers = nn.Parameter(torch.empty(classes * sub_centers, dim))
        nn.init.xavier_uniform_(self.centers)
        if start is not None:
            with torch.no_grad():
                self.centers.copy_(_apart(start, sub_centers))
        self.register_buffer("class_weights", class_weights, persistent=False)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings (rows, dim) -> (rows, classes), the nearest sub-center of each."""
        every = embeddings @ F.normalize(self.centers, dim=1).t()
        classes = every.shape[1] // self.sub_centers
        return every.reshape(len(every), classes, self.sub_centers).amax(dim=2)

    def forward(
        self,
        prefixes: Tensor,
        labels: Tensor,
        margin: float,
        scale: float,
        hard: int,
        hard_margin: float,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy over unit embeddings (batch, prefixes, dim); labels (batch,), -1 unknown.

        Clips without a label are left out; without any, 0. ``weights`` (prefixes,). Class weights
        make a weighted mean, so their size does not matter.
        """
        known = labels >= 0
        wanted = labels[known][:, None].expand(-1, prefixes.shape[1]).reshape(-1)
        rows = prefixes[known].flatten(0, 1).float()
        logits = scale * margin_cosines(self.cosines(rows), wanted, margin, hard, hard_margin)
        losses = F.cross_entropy(logits, wanted, reduction="none")
        each = torch.ones_like(losses)
        if self.class_weights is not None:
            each = self.class_weights[wanted]
        if weights is not None:
            losses = losses * weights.to(losses.device).repeat(int(known.sum()))
        return (losses * each).sum() / each.sum().clamp(min=1e-6)


def _apart(start: Tensor, sub_centers: int) -> Tensor:
    """(classes, dim) -> (classes * sub_centers, dim): each, and copies a little beside it."""
    classes, dim = start.shape
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(classes, sub_centers, dim, generator=generator).to(start)
    noise[:, 0] = 0.0
    moved: Tensor = (
        start[:, None] + noise * (0.01 * start.norm(dim=1) / math.sqrt(dim))[:, None, None]
    )
    return moved.flatten(0, 1)
