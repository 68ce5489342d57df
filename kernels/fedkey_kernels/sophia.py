"""Sophia: a diagonal second-order optimizer with clipped steps (Liu et al. 2023, 2305.14342).

In: gradients, and every few steps an estimate of the curvature. Out: updated parameters. Next stop:
`fedkey_kernels.fused_sophia`, or `fedkey_server.optim` for who wants to see it used.

Two estimators of each parameter's curvature. Gauss-Newton-Bartlett (`SophiaG`): with labels sampled from the
model, batch_size * g_hat^2 has the Gauss-Newton diagonal as its mean. Hutchinson (`SophiaH`): with u drawn
from a normal distribution, u * (Hessian u) has the Hessian's diagonal as its mean.

Paths: "triton" (one launch over all parameters), "foreach" (torch's operators on lists), "reference".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist

from fedkey_kernels import paths, reference

if TYPE_CHECKING:
    from fedkey_kernels import fused_sophia

PATHS = ("triton", "foreach", "reference")


class _Work(NamedTuple):
    """The parameters that are to be updated, group by group, and what belongs to each, in the same order."""

    groups: list[dict[str, Any]]
    group_sizes: list[int]
    parameters: list[Tensor]
    gradients: list[Tensor]
    momenta: list[Tensor]
    curvatures: list[Tensor]

    def by_group(self, *columns: list[Tensor]) -> Iterator[tuple[dict[str, Any], tuple[list[Tensor], ...]]]:
        """Each group with its part of the columns."""
        end = 0
        for group, size in zip(self.groups, self.group_sizes, strict=True):
            start, end = end, end + size
            yield group, tuple(column[start:end] for column in columns)


class _Sophia(torch.optim.Optimizer):
    """What both estimators share: m <- b1 m + (1 - b1) g, and with d = max(scale h + OFFSET, FLOOR)

    p <- p (1 - lr wd) - lr sign(m) min(|m| / d, 1).

    State per parameter: `exp_avg` (momentum m) and `hessian` (curvature h).
    """

    OFFSET: float
    FLOOR: float

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float], rho: float, weight_decay: float
    ) -> None:
        if lr < 0 or rho <= 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr={lr}, betas={betas}, rho={rho}, weight_decay={weight_decay}: out of range")
        super().__init__(params, {"lr": lr, "betas": betas, "rho": rho, "weight_decay": weight_decay})
        self._forget()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()

    def _forget(self) -> None:
        """What a copy does not take over: the last step's count, and where the tensors are."""
        self._clipped: list[Tensor] = []
        self._num_entries = 0
        self._table: fused_sophia.Table | None = None

    @property
    def clipped_share(self) -> float:
        """Share of entries whose last step was clipped to plus or minus lr.

        The paper tunes rho until 10 to 50 % are *not* clipped (section 3.1). Reading this waits for the
        device; stepping does not.
        """
        return sum(int(count) for count in self._clipped) / max(1, self._num_entries)

    def _work(self, found: dict[Tensor, Tensor] | None = None) -> _Work:
        """The parameters that have a gradient, or those in `found` with what it holds."""
        work = _Work([], [], [], [], [], [])
        for group in self.param_groups:
            before = len(work.parameters)
            for parameter in group["params"]:
                gradient = parameter.grad if found is None else found.get(parameter)
                if gradient is None:
                    continue
                if gradient.is_sparse:
                    raise RuntimeError(
                        "Sophia takes no sparse gradients; make the embedding with sparse=False."
                    )
                state = self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["hessian"] = torch.zeros_like(parameter)
                work.parameters.append(parameter)
                work.gradients.append(gradient)
                work.momenta.append(state["exp_avg"])
                work.curvatures.append(state["hessian"])
            work.groups.append(group)
            work.group_sizes.append(len(work.parameters) - before)
        return work

    @torch.compiler.disable  # a training step ends here; compiled, the share would be lost
    @torch.no_grad()
    def _step(
        self,
        closure: Callable[[], float] | None,
        batch_size: int,
        reference_step: Callable[..., Tensor],
    ) -> float | None:
        """One update, with rho * batch_size as the scale of the curvature."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work = self._work()
        self._num_entries = sum(p.numel() for p in work.parameters)
        if not work.parameters:
            self._clipped = []
            return loss
        staying = [work.parameters, work.momenta, work.curvatures]
        if self._table is not None and not self._table.fits(staying, work.group_sizes):
            self._table = None
        path = _chosen_path([*staying, work.gradients] if self._table is None else [work.gradients])
        if path == "triton":
            from fedkey_kernels import fused_sophia

            if self._table is None:
                self._table = fused_sophia.Table(staying, 1, work.group_sizes)
            settings = [_settings(group, batch_size) for group in work.groups]
            count = fused_sophia.step(self._table, work.gradients, settings, self.OFFSET, self.FLOOR)
            self._clipped = [count]
        elif path == "foreach":
            self._clipped = _step_foreach(work, batch_size, self.OFFSET, self.FLOOR)
        else:
            self._clipped = _step_reference(work, reference_step)
        return loss


class SophiaG(_Sophia):
    """Sophia with the Gauss-Newton-Bartlett estimator (algorithm 2 of the paper).

    Per parameter: `exp_avg` (momentum m) and `hessian` (running mean h of g_hat^2). Call `update_hessian()`
    when the gradients are those of sampled labels (every ~10 steps), and `step(batch_size)` when they are
    those of the loss. The step is that of the authors' code, |m| / (rho * batch_size * h + 1e-15), where the
    paper writes |m| / max(gamma h, epsilon); no estimate is negative here, so that they agree.

    Gradients of several small batches may be accumulated before either call, and averaged over processes, as
    DistributedDataParallel does: only the gradient of the whole batch counts.

    Args:
        params: parameters or parameter groups; each group may set the rest for itself.
        lr: step size; the paper uses about that of AdamW for small models.
        betas: decay of momentum and of curvature.
        rho: scale of the clipping threshold (gamma in the paper); larger values clip less.
        weight_decay: decoupled, as in AdamW.

    Raises:
        ValueError: a setting out of range, or `FEDKEY_SOPHIA` asks for what cannot run here.
        RuntimeError: sparse gradients.
    """

    OFFSET = 1e-15
    FLOOR = 0.0

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 6e-4,
        betas: tuple[float, float] = (0.965, 0.99),
        rho: float = 0.05,
        weight_decay: float = 0.2,
    ) -> None:
        super().__init__(params, lr, betas, rho, weight_decay)

    @torch.compiler.disable
    @torch.no_grad()
    def update_hessian(self) -> None:
        """h <- b2 h + (1 - b2) g_hat^2, with g_hat the gradients that now stand in `.grad`."""
        work = self._work()
        _average(work, work.gradients, work.gradients)

    def step(self, closure: Callable[[], float] | None = None, *, batch_size: int = 1) -> float | None:  # type: ignore[override]
        """One update.

        Args:
            closure: recomputes the loss, as everywhere in torch.
            batch_size: number of targets the loss was averaged over (the factor of the Bartlett estimate).
        """
        return self._step(closure, batch_size, partial(reference.sophia_step, batch_size=batch_size))


class SophiaH(_Sophia):
    """Sophia with Hutchinson's estimator (algorithm 1 of the paper).

    Per parameter: `exp_avg` (momentum m) and `hessian` (running mean h of u * (Hessian u)). Call
    `update_hessian(loss, generator)` every ~10 steps, and `step()` when the gradients are those of the loss.
    The estimate can be negative, and so can h: the paper's denominator max(gamma h, epsilon) (equation 6,
    epsilon = 1e-12 in section 3.1) then lets the entry move by lr, against the sign of its momentum.

    The Hessian is reached by differentiating twice, which fused kernels do not know: the loss must come from
    FEDKEY_ATTENTION=reference and, on CUDA, FEDKEY_NORM=torch and FEDKEY_LOSS=reference.

    Args:
        params: parameters or parameter groups; each group may set the rest for itself.
        lr: step size.
        betas: decay of momentum and of curvature.
        rho: scale of the clipping threshold, gamma in the paper, which uses 0.01 for this estimator.
        weight_decay: decoupled, as in AdamW.

    Raises:
        ValueError: a setting out of range, or `FEDKEY_SOPHIA` asks for what cannot run here.
        RuntimeError: sparse gradients; a loss that cannot be differentiated twice.
    """

    OFFSET = 0.0
    FLOOR = 1e-12

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 6e-4,
        betas: tuple[float, float] = (0.965, 0.99),
        rho: float = 0.01,
        weight_decay: float = 0.2,
    ) -> None:
        super().__init__(params, lr, betas, rho, weight_decay)

    @torch.compiler.disable
    def update_hessian(
        self,
        losses: Tensor | Iterable[Tensor],
        generator: torch.Generator,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        """h <- b2 h + (1 - b2) u * (Hessian u), with u drawn from N(0, 1) for every entry.

        `.grad` is neither read nor written. Parameters that no loss depends on stay as they are.

        Args:
            losses: the loss with its graph, which this frees, or several whose sum is the loss of the batch.
                Given as a generator, one graph at a time is in memory.
            generator: seeded, on the parameters' device; in the same state in all processes.
            process_group: the processes over which the losses are to be averaged, as
                DistributedDataParallel averages gradients. It does not see these: take the loss from its
                `module`. Every parameter then counts as one that the loss depends on.
        """
        parameters = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        directions = [torch.empty_like(p).normal_(generator=generator) for p in parameters]
        with torch.enable_grad():
            products = _hessian_products(losses, parameters, directions)
        if process_group is not None:
            products = _averaged(products, parameters, process_group)
        rows = list(zip(parameters, directions, products, strict=True))
        with torch.no_grad():
            work = self._work({p: product for p, _, product in rows if product is not None})
            _average(work, [u for _, u, product in rows if product is not None], work.gradients)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; `closure` recomputes the loss, as everywhere in torch."""
        return self._step(closure, 1, reference.sophia_h_step)


def _hessian_products(
    losses: Tensor | Iterable[Tensor], parameters: Sequence[Tensor], directions: Sequence[Tensor]
) -> list[Tensor | None]:
    """Hessian u of the losses' sum; None where no loss depends on the parameter."""
    products: list[Tensor | None] = [None] * len(parameters)
    for loss in (losses,) if isinstance(losses, Tensor) else losses:
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        # A gradient that is constant has no graph, and adds nothing.
        curved = [i for i, g in enumerate(gradients) if g is not None and g.requires_grad]
        turned: Sequence[Tensor | None] = [None] * len(parameters)
        if curved:
            turned = torch.autograd.grad(
                [gradients[i] for i in curved],
                parameters,
                [directions[i] for i in curved],
                allow_unused=True,
            )
        for i, (gradient, product) in enumerate(zip(gradients, turned, strict=True)):
            if gradient is None:
                continue
            product = torch.zeros_like(parameters[i]) if product is None else product.detach().contiguous()
            known = products[i]
            products[i] = product if known is None else known + product
    return products


def _averaged(
    products: Sequence[Tensor | None], parameters: Sequence[Tensor], process_group: dist.ProcessGroup
) -> list[Tensor | None]:
    """Means over all processes, sent as one piece."""
    dense = [torch.zeros_like(p) if h is None else h for h, p in zip(products, parameters, strict=True)]
    flat = torch.cat([product.flatten() for product in dense])
    dist.all_reduce(flat, group=process_group)
    flat /= dist.get_world_size(process_group)
    parts = flat.split([product.numel() for product in dense])
    return [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]


def _unlike(columns: Sequence[list[Tensor]]) -> str | None:
    """Why one launch cannot work on all of these, or None if it can."""
    device = columns[0][0].device
    for column in columns:
        for tensor, first in zip(column, columns[0], strict=True):
            if tensor.dtype != torch.float32:
                return f"the Triton kernel does not take {tensor.dtype}"
            if not tensor.is_contiguous():
                return "not all tensors lie contiguous"
            if tensor.device != device:
                return f"tensors are on {device} and on {tensor.device}"
            if tensor.shape != first.shape:
                return f"the state of a parameter {tuple(first.shape)} is {tuple(tensor.shape)}"
    return None


def _chosen_path(columns: Sequence[list[Tensor]]) -> str:
    first = columns[0][0]
    why_not = paths.no_triton(first, (torch.float32,)) or _unlike(columns)
    default, reason = ("triton", "float32 on CUDA") if why_not is None else ("foreach", why_not)
    path = paths.choose("sophia", PATHS, default, reason)
    if path == "triton" and why_not is not None:
        paths.require_triton("sophia", first, (torch.float32,))
        why_not = _unlike(columns)
        if why_not is not None:
            raise ValueError(f"FEDKEY_SOPHIA asks for the Triton kernel, but {why_not}")
    return path


def _settings(group: dict[str, Any], batch_size: int) -> fused_sophia.Settings:
    from fedkey_kernels import fused_sophia

    lr, beta1 = group["lr"], group["betas"][0]
    decay, scale = 1 - lr * group["weight_decay"], group["rho"] * batch_size
    return fused_sophia.Settings(lr, decay, beta1, 1 - beta1, scale)


def _step_foreach(work: _Work, batch_size: int, offset: float, floor: float) -> list[Tensor]:
    """Clipped entries of each tensor."""
    clipped = []
    for group, columns in work.by_group(work.parameters, work.gradients, work.momenta, work.curvatures):
        parameters, gradients, momenta, curvatures = columns
        if not parameters:
            continue
        lr, beta1 = group["lr"], group["betas"][0]
        torch._foreach_mul_(momenta, beta1)
        torch._foreach_add_(momenta, gradients, alpha=1 - beta1)
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        scales = torch._foreach_mul(curvatures, group["rho"] * batch_size)
        if offset:
            torch._foreach_add_(scales, offset)
        if floor:
            torch._foreach_clamp_min_(scales, floor)
        ratios = torch._foreach_abs(momenta)
        torch._foreach_div_(ratios, scales)
        clipped += [(ratio >= 1).sum() for ratio in ratios]
        torch._foreach_clamp_max_(ratios, 1.0)
        torch._foreach_addcmul_(parameters, torch._foreach_sign(momenta), ratios, value=-lr)
    return clipped


def _step_reference(work: _Work, reference_step: Callable[..., Tensor]) -> list[Tensor]:
    """Clipped entries of each tensor."""
    clipped = []
    for group, columns in work.by_group(work.parameters, work.momenta, work.curvatures, work.gradients):
        for row in zip(*columns, strict=True):
            share = reference_step(
                *row,
                learning_rate=group["lr"],
                beta1=group["betas"][0],
                rho=group["rho"],
                weight_decay=group["weight_decay"],
            )
            clipped.append((share * row[0].numel()).round())
    return clipped


def _average(work: _Work, left: list[Tensor], right: list[Tensor]) -> None:
    """h <- b2 h + (1 - b2) left * right."""
    if not work.parameters:
        return
    path = _chosen_path([work.curvatures, left, right])
    if path == "triton":
        from fedkey_kernels import fused_sophia

        table = fused_sophia.Table([work.curvatures], 2, work.group_sizes)
        fused_sophia.average(table, left, right, [group["betas"][1] for group in work.groups])
        return
    for group, columns in work.by_group(work.curvatures, left, right):
        beta2 = group["betas"][1]
        if path == "foreach" and columns[0]:
            torch._foreach_mul_(columns[0], beta2)
            torch._foreach_addcmul_(columns[0], columns[1], columns[2], value=1 - beta2)
        elif path == "reference":
            for curvature, one, other in zip(*columns, strict=True):
                reference.curvature_average(curvature, one, other, beta2)
