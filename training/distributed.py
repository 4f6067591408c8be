"""One run on several processes: ``torchrun --nproc-per-node 8 -m training train CONFIG``."""

from __future__ import annotations

import dataclasses
import os

import torch
from torch import Tensor, distributed

from streamsv.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """One process among all of a run: its ``rank`` of ``size``, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the checkpoint and the log."""
        return self.rank == 0

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each value over the processes; all give the same names."""
        if self.size == 1:
            return values
        # NCCL moves tensors of its own device only, and a GPU need not have float64 to be exact
        joined = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        distributed.all_reduce(joined)
        means = (joined / self.size).tolist()
        return dict(zip(values, means, strict=True))

    def average(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the processes; all give the same shape."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values / self.size

    def leave(self) -> None:
        """Wait for all, and end the group."""
        if self.size > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def join(device: str) -> World:
    """Join the processes that ``torchrun`` started, by gloo on a CPU and NCCL on GPUs.

    Alone, where ``torchrun`` started none.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    place = torch.device(device)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                "device is cuda, and torch finds no GPU here; set device to cpu.", device
            )
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if size > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    return World(rank, size, place)
