"""Who else trains: this process's rank among the workers, and sums over all of them."""

from dataclasses import dataclass

import torch
from torch import Tensor, distributed


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

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all ranks."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def agree(self, number: int, what: str) -> None:
        """Stop before ranks that see different things wait for each other for ever.

        Raises:
            RuntimeError: some rank has another number.
        """
        total = self.total(torch.tensor([number], device=self.device)).item()
        if total != number * self.world:
            raise RuntimeError(f"rank {self.rank} has {number} for {what}, others have another")

    def wait(self) -> None:
        """Go on when every rank is here."""
        if self.world > 1:
            distributed.barrier()
