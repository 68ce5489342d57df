"""The language model: decoder-only, Llama-shaped, tied embeddings.

In: packed rows of piece ids. Out: hidden states, whose product with the embedding are the logits. Next stop:
`fedkey_server.train`.

Parameter names are those of Llama checkpoints in the safetensors files of this field, so that other tools can
read them. Shape suffixes: B = rows, T = positions in a row, D = model width, H = query heads, G = key/value
heads, K = head size, F = hidden width of the feed-forward layer, N = graded positions, V = vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedkey_kernels import (
    Mask,
    attention,
    bartlett_loss,
    document_mask,
    linear_attention,
    linear_cross_entropy,
    linear_distillation,
    order_masks,
    rms_norm,
    rotary_table,
    rotate,
)
from fedkey_kernels.mask import NO_WINDOW

IGNORE = -100
"""Target of a position that carries no loss."""


ATTENTIONS = ("full", "sliding", "linear")
"""Those of `fedkey.bundle`, which training does not read."""

SHORTEST_HORIZON, LONGEST_HORIZON = 1.0, 64.0


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the transformer."""

    vocab_size: int = 4096
    """Pieces of the tokenizer."""
    width: int = 128
    """Size of a hidden state, D."""
    num_layers: int = 3
    num_heads: int = 4
    """Query heads, H; the head size is width / num_heads."""
    num_key_value_heads: int = 2
    """Key/value heads, G; fewer of them make the phone's cache smaller (2305.13245)."""
    hidden_width: int = 352
    """Inner size of the SwiGLU layer (2002.05202), F."""
    window: int = 128
    """Longest document in pieces, and the context the phone keeps."""
    attention: str = "full"
    """How a piece looks at those before it: "full", "sliding" (the last `span`, its own included) or "linear"
    (2006.16236: all of them, as sums of constant size). `server/EXPERIMENTS.md` compares them."""
    span: int = 32
    """Pieces that a layer of sliding attention looks at; further back only through the layers below."""
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "width",
            "num_layers",
            "num_heads",
            "num_key_value_heads",
            "hidden_width",
            "window",
            "span",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be at least 1, not {getattr(self, name)}")
        if self.window < 3:
            raise ValueError(
                f"model.window must be at least 3, not {self.window}: a piece between a message's start and "
                "its end"
            )
        if self.rope_base <= 0:
            raise ValueError(f"model.rope_base must be more than 0, not {self.rope_base}")
        if self.norm_epsilon < 0:
            raise ValueError(f"model.norm_epsilon must not be negative, but it is {self.norm_epsilon}")
        if self.width % self.num_heads or self.head_size % 2:
            raise ValueError(
                f"model.width {self.width} must be an even multiple of num_heads {self.num_heads}"
            )
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(
                f"model.num_key_value_heads {self.num_key_value_heads} must divide num_heads {self.num_heads}"
            )
        if self.attention not in ATTENTIONS:
            raise ValueError(
                f"model.attention must be one of {', '.join(ATTENTIONS)}, not {self.attention!r}"
            )
        if self.attention == "sliding" and self.span > self.window:
            raise ValueError(f"model.span {self.span} must not exceed model.window {self.window}")

    @property
    def head_size(self) -> int:
        """Size of one attention head, K."""
        return self.width // self.num_heads

    @property
    def horizons(self) -> tuple[float, ...]:
        """Pieces after which the past counts e times less in linear attention, for each key/value head; empty
        with any other. In even steps of the logarithm, so that some heads know the last word and some the
        message."""
        if self.attention != "linear":
            return ()
        steps = max(1, self.num_key_value_heads - 1)
        ratio = LONGEST_HORIZON / SHORTEST_HORIZON
        return tuple(SHORTEST_HORIZON * ratio ** (g / steps) for g in range(self.num_key_value_heads))


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learnt scale."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x_btd: Tensor) -> Tensor:
        return rms_norm(x_btd, self.weight, self.epsilon)


class Rows(NamedTuple):
    """What every layer needs to know about the batch beside its hidden states."""

    mask: Mask
    rotary: tuple[Tensor, Tensor]


class SelfAttention(nn.Module):
    """Grouped-query attention: softmax with rotary positions, or linear features that fade."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        self.horizons = config.horizons
        key_value_width = config.num_key_value_heads * config.head_size
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.k_proj = nn.Linear(config.width, key_value_width, bias=False)
        self.v_proj = nn.Linear(config.width, key_value_width, bias=False)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x_btd: Tensor, rows: Rows, seen_btd: Tensor | None = None) -> Tensor:
        num_rows, num_positions, width = x_btd.shape
        heads = (num_rows, num_positions, -1, self.head_size)
        seen_btd = x_btd if seen_btd is None else seen_btd
        q_bthk = self.q_proj(x_btd).view(heads)
        k_btgk = self.k_proj(seen_btd).view(heads)
        v_btgk = self.v_proj(seen_btd).view(heads)
        if self.horizons:
            out_bthk = linear_attention(q_bthk, k_btgk, v_btgk, self.horizons, rows.mask)
        else:
            q_bthk, k_btgk = rotate(q_bthk, rows.rotary), rotate(k_btgk, rows.rotary)
            out_bthk = attention(q_bthk, k_btgk, v_btgk, rows.mask)
        return self.o_proj(out_bthk.reshape(num_rows, num_positions, width))


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.hidden_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.hidden_width, bias=False)
        self.down_proj = nn.Linear(config.hidden_width, config.width, bias=False)

    def forward(self, x_btd: Tensor) -> Tensor:
        return self.down_proj(nn.functional.silu(self.gate_proj(x_btd)) * self.up_proj(x_btd))


class Layer(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.self_attn = SelfAttention(config)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_epsilon)
        self.mlp = FeedForward(config)

    def forward(self, x_btd: Tensor, rows: Rows, seen_btd: Tensor | None = None) -> Tensor:
        """The states after this layer; `seen_btd` is the stream that they look at, if not their own."""
        seen_btd = None if seen_btd is None else self.input_layernorm(seen_btd)
        x_btd = x_btd + self.self_attn(self.input_layernorm(x_btd), rows, seen_btd)
        return x_btd + self.mlp(self.post_attention_layernorm(x_btd))


class Decoder(nn.Module):
    """Embedding, layers and final norm; named `model` inside `Model`, as Llama checkpoints have it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_epsilon)


class Model(nn.Module):
    """The language model. Weights are drawn from `seed`, so that equal seeds give equal models."""

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        # Projections that write into the residual stream start smaller, so that its variance does not grow
        # with depth (GPT-2). The tied embedding starts at width^-0.5: logits of order one, inputs
        # renormalised by the first layer.
        residual = 0.02 * (2 * self.config.num_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            std = 0.02
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std = residual
            elif name.endswith("embed_tokens.weight"):
                std = self.config.width**-0.5
            parameter.normal_(0.0, std, generator=generator)

    @property
    def embedding_vd(self) -> Tensor:
        """The tied embedding and output matrix [V, D]."""
        return self.model.embed_tokens.weight

    def forward(
        self, tokens_bt: Tensor, positions_bt: Tensor, document_ids_bt: Tensor, sight: Sight | None = None
    ) -> Tensor:
        """Hidden states after the final norm.

        Args:
            tokens_bt: int64 [B, T] piece ids.
            positions_bt: int64 [B, T], counted from 0 in each document.
            document_ids_bt: integer [B, T]; a run of equal numbers is one document, -1 is padding. No
                document crosses a multiple of `window`.
            sight: who sees whom inside a document; by default each piece itself and those before it.

        Returns:
            [B, T, D]; no position depends on another document.
        """
        x_btd = self.model.embed_tokens(tokens_bt)
        config = self.config
        if sight is not None and sight.ranks_bt is not None:
            return self._predicted_in_order(x_btd, positions_bt, document_ids_bt, sight)
        window = config.span if config.attention == "sliding" else NO_WINDOW
        mask = document_mask(document_ids_bt, causal=sight is None, window=window, tile=config.window)
        rows = self._rows(mask, positions_bt, x_btd)
        for layer in self.model.layers:
            x_btd = layer(x_btd, rows)
        return self.model.norm(x_btd)

    def _rows(self, mask: Mask, positions_bt: Tensor, x_btd: Tensor) -> Rows:
        # Attention is torch's on the CPU and of an order, and wants the mask dense; linear attention never.
        is_torchs = x_btd.device.type == "cpu" or mask.dense_btt is not None
        if is_torchs and self.config.attention != "linear":
            mask = mask.with_bias(x_btd.dtype)
        head_size, base = self.config.head_size, self.config.rope_base
        return Rows(mask, rotary_table(positions_bt, head_size, base, x_btd.dtype))

    def _predicted_in_order(
        self, content_btd: Tensor, positions_bt: Tensor, document_ids_bt: Tensor, sight: Sight
    ) -> Tensor:
        """The query stream of two, see `fedkey_server.objectives.permutation`."""
        assert sight.ranks_bt is not None
        masks = order_masks(sight.ranks_bt, document_ids_bt)
        own, asking = (self._rows(mask, positions_bt, content_btd) for mask in masks)
        query_btd = self.embedding_vd[sight.blank_id].to(content_btd.dtype).expand_as(content_btd)
        for layer in self.model.layers:
            query_btd = layer(query_btd, asking, content_btd)
            content_btd = layer(content_btd, own)
        return self.model.norm(query_btd)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log probabilities [..., V] of the next piece; the penalty keeps their log Z steady."""
        return hidden @ self.embedding_vd.T

    def loss(
        self,
        tokens_bt: Tensor,
        targets_bt: Tensor,
        positions_bt: Tensor,
        document_ids_bt: Tensor,
        z_penalty: float = 0.0,
        taught: Taught | None = None,
        lesson_weight: float = 0.0,
        sight: Sight | None = None,
    ) -> Losses:
        """Sums over the graded targets of a batch (those that are not `IGNORE`), each predicted where it
        stands in `targets_bt`.

        With lessons the total also holds, `lesson_weight` times, the cross entropy against what a teacher
        expected at the taught places.
        """
        hidden_btd = self(tokens_bt, positions_bt, document_ids_bt, sight)
        graded_bt = targets_bt != IGNORE
        targets_n = targets_bt[graded_bt]
        total, nll, hits = linear_cross_entropy(
            hidden_btd[graded_bt], self.embedding_vd, targets_n, z_penalty
        )
        if taught is not None:
            hidden_nd = hidden_btd.flatten(0, 1)[taught.places_n]
            lesson = linear_distillation(hidden_nd, self.embedding_vd, taught.ids_nk, taught.probs_nk)
            total = total + lesson_weight * lesson
        return Losses(total, nll, hits, targets_n.numel())

    def bartlett_loss(
        self,
        tokens_bt: Tensor,
        targets_bt: Tensor,
        positions_bt: Tensor,
        document_ids_bt: Tensor,
        seed: int,
        sight: Sight | None = None,
    ) -> Tensor:
        """Summed NLL, at the graded positions, of labels drawn from the model itself: its gradient estimates
        the curvature (Gauss-Newton-Bartlett, 2305.14342, section 2.3). What stands in the targets does not
        matter."""
        hidden_btd = self(tokens_bt, positions_bt, document_ids_bt, sight)
        nll, _ = bartlett_loss(hidden_btd[targets_bt != IGNORE], self.embedding_vd, seed)
        return nll


class Sight(NamedTuple):
    """Who sees whom inside a document where that is not each piece those before it."""

    ranks_bt: Tensor | None = None
    """[B, T] int64: places in an order, by which two streams run; None lets all see all."""
    blank_id: int = 0
    """The piece whose embedding begins the query stream."""


class Taught(NamedTuple):
    """What a teacher expected in a batch."""

    places_n: Tensor
    """[N] int64 in 0..B*T-1, row times row length plus column: after which piece."""
    ids_nk: Tensor
    """[N, K] int64, likely next pieces, or `fedkey_kernels.distillation.NO_PIECE`."""
    probs_nk: Tensor
    """[N, K] float32, their probabilities."""


class Losses(NamedTuple):
    """Sums over graded targets; divide by `num_targets` for means."""

    total: Tensor
    """NLL + z_penalty * logZ^2 and what lessons add, differentiable."""
    nll: Tensor
    """Negative log likelihood in nats."""
    hits: Tensor
    """Targets that were the most probable piece."""
    num_targets: int
