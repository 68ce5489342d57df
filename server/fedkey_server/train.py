"""Central training: packed rows in, checkpoints out, resumable at any moment.

In: a prepared data folder and a configuration. Out: a run folder. Next stop: `fedkey_server.checkpoint`.

A run that was killed and started again ends with the very loss it would have had: the batch of a step is a
pure function of (seed, step), sampled labels come from a generator seeded by (seed, step), and a checkpoint
holds the weights and the whole optimizer state.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fedkey.errors import UserError
from fedkey_kernels import SophiaG
from fedkey_server import checkpoint, optim
from fedkey_server.batches import BatchStream, Documents, PackedRows, pack
from fedkey_server.model import Model
from fedkey_server.progress import track

if TYPE_CHECKING:
    from fedkey_server.config import Config

log = logging.getLogger(__name__)

SERVER_TEXT, VALIDATION_TEXT = "server.npz", "validation.npz"
"""Files of the data folder."""


@dataclass(frozen=True)
class TrainConfig:
    """How the model is trained centrally."""

    num_steps: int = 1000
    batch_rows: int = 16
    """Rows of `model.window` pieces in a step."""
    optimizer: str = "adamw"
    """"adamw", "sophia", "lion" or "muon" (with AdamW for the embedding and the norms)."""
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    final_share: float = 0.1
    """Learning rate at the last step as a share of the peak; cosine in between."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    rho: float = 0.05
    """Sophia's clipping scale."""
    hessian_every: int = 10
    """Steps between Sophia's curvature estimates."""
    clip_norm: float = 1.0
    """Largest norm of a step's gradient; 0 leaves gradients as they are."""
    z_penalty: float = 1e-3
    """Weight of logZ^2. It keeps log Z steady, so that the phone can take one usual value off the logits; 0.1
    would bring it to zero, and cost 0.18 nats per piece after 200 steps of the tiny preset."""
    validate_every: int = 200
    validation_rows: int = 128
    """Rows of validation text looked at each time."""
    checkpoint_every: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        if self.optimizer not in optim.OPTIMIZERS:
            raise ValueError(
                f"train.optimizer must be one of {', '.join(optim.OPTIMIZERS)}, not {self.optimizer!r}"
            )
        for name in (
            "num_steps",
            "batch_rows",
            "hessian_every",
            "validate_every",
            "validation_rows",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "rho"):
            if getattr(self, name) <= 0:
                raise ValueError(f"train.{name} must be more than 0, not {getattr(self, name)}")
        for name in ("warmup_steps", "final_share", "weight_decay", "clip_norm", "z_penalty"):
            if getattr(self, name) < 0:
                raise ValueError(f"train.{name} must not be negative, but it is {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be from 0 up to 1, not {getattr(self, name)}")


Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""tokens, targets, positions, document_ids, each [B, T]."""


def to_batch(rows: PackedRows, device: torch.device) -> Batch:
    """Packed numpy rows as tensors on the device."""
    arrays = (rows.tokens, rows.targets, rows.positions, rows.document_ids)
    tokens, targets, positions, document_ids = (
        torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(device, non_blocking=True)
        for array in arrays
    )
    return tokens, targets, positions, document_ids


def precision(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 where the hardware is made for it; full precision on a CPU, where bf16 is emulated and slower."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def pick_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def validate(model: Model, rows: PackedRows, batch_rows: int, device: torch.device) -> dict[str, float]:
    """Mean NLL per piece in nats and top-1 accuracy per piece; sums first, so that the batch size does not
    matter."""
    nll = hits = num_targets = 0.0
    for start in range(0, len(rows), batch_rows):
        with precision(device):
            losses = model.loss(*to_batch(rows.take(slice(start, start + batch_rows)), device))
        nll += float(losses.nll)
        hits += float(losses.hits)
        num_targets += losses.num_targets
    return {"validation_loss": nll / max(1, num_targets), "validation_top1": hits / max(1, num_targets)}


def gradient_step(
    model: Model, optimizer: torch.optim.Optimizer, batch: Batch, z_penalty: float, clip_norm: float
) -> tuple[float, int]:
    """One step of the optimizer on one batch; returns (summed NLL, number of targets)."""
    optimizer.zero_grad(set_to_none=True)
    with precision(batch[0].device):
        losses = model.loss(*batch, z_penalty=z_penalty)
    if losses.num_targets == 0:
        return 0.0, 0
    (losses.total / losses.num_targets).backward()
    if clip_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if isinstance(optimizer, SophiaG):
        optimizer.step(batch_size=losses.num_targets)
    else:
        optimizer.step()
    return float(losses.nll), losses.num_targets


def curvature_step(model: Model, optimizer: SophiaG, batch: Batch, generator: torch.Generator) -> None:
    """Gauss-Newton-Bartlett: the gradient on labels drawn from the model updates Sophia's curvature."""
    tokens, targets, positions, document_ids = batch
    with torch.no_grad(), precision(tokens.device):
        hidden_btd = model(tokens, positions, document_ids)
        graded_bt = targets >= 0
        probabilities_nv = model.logits(hidden_btd[graded_bt]).float().softmax(dim=-1)
        sampled = targets.clone()
        sampled[graded_bt] = torch.multinomial(probabilities_nv, 1, generator=generator)[:, 0]
    optimizer.zero_grad(set_to_none=True)
    with precision(tokens.device):
        losses = model.loss(tokens, sampled, positions, document_ids)
    (losses.total / max(1, losses.num_targets)).backward()
    optimizer.update_hessian()


def train(
    config: Config,
    data: Path,
    run: Path,
    *,
    init: Path | None = None,
    num_steps: int | None = None,
) -> dict[str, float]:
    """Trains until `num_steps` and returns the final figures; goes on where an earlier process stopped.

    Args:
        config: resolved configuration; `config.train` and `config.model` are used.
        data: folder made by `fedkey_server.prepare`.
        run: run folder, made if missing.
        init: run or bundle whose weights are the start, instead of seeded random ones.
        num_steps: overrides `config.train.num_steps`.

    Raises:
        UserError: the folders do not fit the configuration or each other.
    """
    from fedkey_server.config import to_dict

    settings = config.train
    num_steps = settings.num_steps if num_steps is None else num_steps
    described = to_dict(config) | {"num_steps": num_steps, "init": None if init is None else init.name}
    checkpoint.start_run(run, described, "train", data, (SERVER_TEXT, VALIDATION_TEXT), init)
    if (run / "done.json").exists():
        final: dict[str, float] = checkpoint.read_json(run / "done.json")
        return final
    device = pick_device()
    model = initial_model(config, data, init).to(device)
    optimizer = optim.build(
        settings.optimizer,
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        beta1=settings.beta1,
        beta2=settings.beta2,
        rho=settings.rho,
    )
    start, nll, targets = _resume(run, model, optimizer, device)
    window = config.model.window
    stream = BatchStream(
        pack(Documents.load(data / SERVER_TEXT), window, window), settings.batch_rows, settings.seed
    )
    held_out = validation_rows(data, window, settings.validation_rows, settings.seed)
    pieces_per_step = settings.batch_rows * window
    measured: dict[str, float] = {}

    with track(
        f"train {run.name}", num_steps * pieces_per_step, "pieces", start=start * pieces_per_step
    ) as advance:
        for step in range(start, num_steps):
            rate = optim.learning_rate_at(
                step, num_steps, settings.learning_rate, settings.warmup_steps, settings.final_share
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = to_batch(stream.batch(step), device)
            if isinstance(optimizer, SophiaG) and step % settings.hessian_every == 0:
                generator = torch.Generator(device).manual_seed(settings.seed * 1_000_003 + step)
                curvature_step(model, optimizer, batch, generator)
            step_nll, step_targets = gradient_step(
                model, optimizer, batch, settings.z_penalty, settings.clip_norm
            )
            nll, targets = nll + step_nll, targets + step_targets
            advance(pieces_per_step, loss=step_nll / max(1, step_targets))
            done = step + 1
            if done % settings.validate_every == 0 or done == num_steps:
                measured = validate(model, held_out, settings.batch_rows, device)
                row = {"step": done, "train_loss": nll / max(1, targets), "learning_rate": rate}
                checkpoint.append_metrics(run, row | measured)
                advance(0, validation=measured["validation_loss"])
                nll = targets = 0.0
            if done % settings.checkpoint_every == 0 or done == num_steps:
                counters = {"nll": nll, "targets": targets}
                checkpoint.save(
                    run, done, model.state_dict(), optim.flat_state(model, optimizer), counters, config.model
                )
    # Killed between the last checkpoint and here, a run has nothing left to do but to measure again.
    final = {"step": num_steps} | (measured or validate(model, held_out, settings.batch_rows, device))
    checkpoint.write_json(run / "done.json", final)
    return final


def initial_model(config: Config, data: Path, init: Path | None) -> Model:
    """Seeded random weights, or those of a run or bundle with the same shape and tokenizer."""
    if init is None:
        return Model(config.model, seed=config.train.seed)
    start = checkpoint.load(init)
    if start.model_config != config.model:
        raise UserError(
            f"{init} holds a model of another shape than the preset; choose the preset it was made with."
        )
    if (start.folder / "tokenizer.model").read_bytes() != (data / "tokenizer.model").read_bytes():
        raise UserError(
            f"{init} was made with another tokenizer than {data}; prepare the data it was trained on."
        )
    return start.model()


def validation_rows(data: Path, window: int, num_rows: int, seed: int) -> PackedRows:
    """The same seeded choice of packed validation rows for training and federation."""
    rows = pack(Documents.load(data / VALIDATION_TEXT), window, window)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:num_rows]
    return rows.take(np.sort(chosen))


def _resume(
    run: Path, model: Model, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[int, float, float]:
    """Puts back the newest checkpoint; returns its step and the loss sums since the last line of metrics."""
    folder = checkpoint.latest(run)
    if folder is None:
        checkpoint.trim_metrics(run, 0)
        return 0, 0.0, 0.0
    saved = checkpoint.read(folder)
    model.load_state_dict(saved.weights)
    optim.restore_state(model, optimizer, {name: tensor.to(device) for name, tensor in saved.state.items()})
    checkpoint.trim_metrics(run, saved.step)
    log.info("going on after step %d of %s", saved.step, run)
    return saved.step, saved.counters["nll"], saved.counters["targets"]
