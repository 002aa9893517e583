"""Who else trains: this process's rank among the workers, and what all of them say together."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """This process's place in the group; alone where there is no group."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def here(cls, on_gpu: bool) -> "Ranks":
        """The place that torch.distributed gives this process."""
        device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        if not distributed.is_initialized():
            return cls(0, 1, device)
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def slice(self, count: int) -> slice:
        """This rank's contiguous part of `count` things; parts differ by one at most and cover all."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the ranks in its backward pass."""
        if self.world == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, forward_sync_buffers=False)

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all ranks."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def gathered(self, values: Tensor) -> Tensor:
        """The rows of all ranks, one rank's behind the other's; each may have another number of them."""
        if self.world == 1:
            return values
        counts = torch.zeros(self.world, dtype=torch.int64, device=self.device)
        counts[self.rank] = len(values)
        most = int(self.total(counts).max())
        padded = values.new_zeros(most, *values.shape[1:])
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])

    def told(self, word: Any) -> Any:
        """What the first rank says."""
        if self.world == 1:
            return word
        words = [word]
        distributed.broadcast_object_list(words, device=self.device)
        return words[0]

    def wait(self) -> None:
        """Go on when every rank is here."""
        if self.world > 1:
            distributed.barrier()


def silent(model: nn.Module) -> AbstractContextManager[None]:
    """Backward passes of a wrapped model that leave the averaging to a later one."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()
