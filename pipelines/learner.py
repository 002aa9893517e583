"""All that a training carries from step to step, and how it is put into tensors and taken out again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from perceiver.model import Perceiver
from perceiver.optimizer import build_optimizer
from perceiver.settings import TrainSettings
from perceiver.step import Average
from pipelines.ranks import Ranks

Tensors = Mapping[str, Mapping[str, Tensor]]


class Learner:
    """Model, optimizer and moving average."""

    def __init__(self, model: Perceiver, settings: TrainSettings, ranks: Ranks) -> None:
        self.model = model.to(ranks.device)
        self.optimizer = build_optimizer(self.model, settings)
        self.average = Average(self.model, settings.ema) if settings.ema else None
        self.stepping: nn.Module = self.model
        if ranks.world > 1:
            devices = [ranks.device] if ranks.device.type == "cuda" else None
            self.stepping = DistributedDataParallel(
                self.model, device_ids=devices, forward_sync_buffers=False
            )

    @property
    def kept(self) -> Perceiver:
        """The weights that are evaluated and registered: the average where there is one."""
        return self.average.model if self.average else self.model

    def tensors(self) -> Tensors:
        """Everything that changes, for a checkpoint: always the unwrapped model."""
        groups = {"model": self.kept.state_dict(), "optimizer": self._optimizer_tensors()}
        return {**groups, "raw": self.model.state_dict()} if self.average else groups

    def numbers(self) -> list[dict[str, Any]]:
        """What the optimizer keeps besides tensors."""
        return [
            {name: value for name, value in group.items() if name != "params" and not torch.is_tensor(value)}
            for group in self.optimizer.param_groups
        ]

    def restore(self, tensors: Tensors, numbers: list[dict[str, Any]]) -> None:
        """Take up a checkpoint."""
        self.kept.load_state_dict(tensors["model"])
        if self.average:
            self.model.load_state_dict(tensors["raw"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors["optimizer"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        current = self.optimizer.state_dict()["param_groups"]
        groups = [{**group, **_as_tuples(saved)} for group, saved in zip(current, numbers, strict=True)]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state: dict[int, dict[str, Tensor]] = self.optimizer.state_dict()["state"]
        return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def _as_tuples(saved: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only, the optimizers want tuples (betas)."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
