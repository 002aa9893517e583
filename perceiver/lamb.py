"""LAMB (You et al. 2019, arXiv 1904.00962, Algorithm 2) as optax has it, with which the paper was trained.

Adam's step plus decay, scaled for each tensor so that it changes it in proportion to the tensor's own norm.
"""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# torch's own optimizers are written with these: one kernel for all tensors of a group.

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]


class Lamb(torch.optim.Optimizer):
    """Bias correction on, decay inside the trust ratio, no bounds on norms; state named as AdamW's."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            changed = [parameter for parameter in group["params"] if parameter.grad is not None]
            if changed:
                states = [self._state(parameter) for parameter in changed]
                updates = _adam(changed, states, group["betas"], group["eps"])
                if group["weight_decay"]:
                    torch._foreach_add_(updates, changed, alpha=group["weight_decay"])
                torch._foreach_mul_(updates, _trust(changed, updates))
                torch._foreach_add_(changed, updates, alpha=-group["lr"])
        return loss

    def _state(self, parameter: Tensor) -> State:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)  # on the CPU, as AdamW's: reading it does not wait for a device
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return state


def _adam(
    parameters: list[Tensor], states: list[State], betas: tuple[float, float], eps: float
) -> list[Tensor]:
    """m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    steps = [state["step"].item() for state in states]
    means, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
    torch._foreach_lerp_(means, gradients, 1 - betas[0])
    torch._foreach_mul_(squares, betas[1])
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - betas[1])
    roots = torch._foreach_sqrt(squares)
    torch._foreach_div_(roots, [(1 - betas[1] ** step) ** 0.5 for step in steps])
    torch._foreach_add_(roots, eps)
    updates = torch._foreach_div(means, roots)
    torch._foreach_div_(updates, [1 - betas[0] ** step for step in steps])
    return list(updates)


def _trust(parameters: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """||w|| / ||update|| of each; 1 where either is 0, so that what begins at 0 can leave it."""
    own, asked = (torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, updates))
    return list(torch.where((own > 0) & (asked > 0), own / asked, 1.0).unbind())
