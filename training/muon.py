"""Muon: steps along the orthogonalized momentum of each matrix, AdamW for everything else.

After Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", with the scale
of Liu et al. 2025, "Muon is Scalable for LLM Training" (0.2 sqrt(max(rows, columns)): the size that
an AdamW step has), so that both kinds of weights share one learning rate. torch's own takes
matrices alone; ours takes the stacks of matrices that grouped layers have, each orthogonalized by
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

LEAST_SIDE = 16
"""Weights with a shorter side, such as depthwise filters, are no matrices in this sense."""

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def is_matrix(weight: Tensor) -> bool:
    """Whether ``weight`` is a matrix or a stack of matrices that is to be orthogonalized."""
    return weight.dim() in (2, 3) and min(weight.shape[-2:]) >= LEAST_SIDE


def orthogonalized(x: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix to each (..., rows, columns), singular values near 1.

    Five steps of the quintic Newton-Schulz iteration X <- a X + (b A + c A^2) X, A = X X^T, whose
    coefficients are chosen for speed: singular values end between about 0.7 and 1.2.
    """
    is_tall = x.shape[-2] > x.shape[-1]
    y: Tensor = x.mT if is_tall else x
    y = y / (y.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = y @ y.mT
        y = a * y + (b * gram + c * gram @ gram) @ y
    return y.mT if is_tall else y


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized, with decoupled weight decay; for matrices only."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        weight_decay: float = 0.02,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(parameters, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])
        scale = 0.2 * max(weight.shape[-2:]) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(orthogonalized(ahead), alpha=-group["lr"] * scale)


class MuonWithAdamW:
    """Both optimizers as one: matrices that are no ``tables`` go to Muon, the rest to AdamW."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        weight_decay: float,
        tables: Iterable[Tensor] = (),
    ) -> None:
        rows = {id(table) for table in tables}
        matrices: list[Tensor] = []
        others: list[Tensor] = []
        for each in parameters:
            (matrices if is_matrix(each) and id(each) not in rows else others).append(each)
        self._muon = Muon(matrices, lr, weight_decay)
        self._adamw = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, whose ``lr`` may be set."""
        return self._muon.param_groups + self._adamw.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self._muon.zero_grad(set_to_none)
        self._adamw.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of both."""
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """What both remember."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])
