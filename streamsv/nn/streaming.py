"""The streaming contract: state is an argument and a result, never an attribute.

Every layer, block, front end, pooling and whole model that streams is a :class:`Streaming`
module. Its offline ``forward`` is ``step`` from a fresh state, so that the two are one piece of
code and give the same numbers.
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
"""A flat mapping from a dotted name (``blocks.3.mix.left``) to a tensor, batch first."""


class Streaming(nn.Module, abc.ABC):
    """A layer that can be stepped through a stream.

    Attributes
    ----------
    stride:
        ``step`` takes a multiple of this many input frames.
    lookahead:
        How many input frames after its own an output frame depends on.
    receptive_field:
        How many input frames, its own included, an output frame depends on at most; ``None``
        when it is unbounded, by a recursion of fixed size.
    """

    stride: int = 1
    lookahead: int = 0
    receptive_field: int | None = 1

    @abc.abstractmethod
    def init_state(self, batch: int) -> State:
        """The state before the first frame, for ``batch`` streams: float32, fixed shapes."""

    @abc.abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance every stream by the frames in ``x`` (batch, frames, features).

        Pure: it writes into neither ``x`` nor ``state``.
        """

    def forward(self, x: Tensor) -> Tensor:
        """The offline twin: the whole input at once, from a fresh state."""
        return self.step(x, self.init_state(x.shape[0]))[0]

    def zeros(self, *shape: int) -> Tensor:
        """A float32 zero tensor on the device of this module's parameters or buffers."""
        for parameter in self.parameters():
            return torch.zeros(shape, device=parameter.device)
        for buffer in self.buffers():
            return torch.zeros(shape, device=buffer.device)
        return torch.zeros(shape)


class Composite(Streaming):
    """A streaming module made of named streaming children, whose states it gathers.

    A child ``mix`` that owns a state ``left`` appears here as ``mix.left``.
    """

    def streaming_children(self) -> dict[str, Streaming]:
        """The children that carry state, by the dotted name that their states get here."""
        found: dict[str, Streaming] = {}
        for name, child in self.named_children():
            if isinstance(child, Streaming):
                found[name] = child
            elif isinstance(child, nn.ModuleList):
                for index, item in enumerate(child):
                    if isinstance(item, Streaming):
                        found[f"{name}.{index}"] = item
        return found

    def init_state(self, batch: int) -> State:
        """The children's fresh states under their dotted names."""
        return {
            f"{name}.{key}": tensor
            for name, child in self.streaming_children().items()
            for key, tensor in child.init_state(batch).items()
        }


def part(state: State, name: str) -> State:
    """The state of the child ``name``: the entries under ``name.``, the prefix removed."""
    prefix = name + "."
    return {key[len(prefix) :]: tensor for key, tensor in state.items() if key.startswith(prefix)}


def named(name: str, state: State) -> State:
    """The inverse of :func:`part`: every entry of ``state`` under ``name.``."""
    return {f"{name}.{key}": tensor for key, tensor in state.items()}


def stack_states(states: list[State]) -> State:
    """Join the states of several streams along the batch axis, in the order given."""
    return {key: torch.cat([state[key] for state in states]) for key in states[0]}


def unstack_state(state: State) -> list[State]:
    """The inverse of :func:`stack_states`: one state for each stream of the batch."""
    batch = next(iter(state.values())).shape[0]
    return [{key: tensor[i : i + 1] for key, tensor in state.items()} for i in range(batch)]
