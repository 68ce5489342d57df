"""The network of Hard et al. 2018: a coupled-gate LSTM over words, small enough for a phone.

In: rows of word numbers. Out: hidden states, whose product with the embedding are the logits. Next stop:
`hard2018.words`.

Section 3 of the paper (1811.03604) names it: one layer of 670 units, input and output embeddings of 96
numbers that are one matrix, input and forget gate coupled (CIFG; Greff et al. 2015, 1503.04069), 1.4 million
parameters. Those are met only if the 670 cells are projected to 96 numbers, which are both the recurrent
state and what the embedding is multiplied with (Sak et al. 2014, 1402.1128): recurrent matrices of 670 x 670
would be 1.3 million by themselves. With x the embedding of a word, h before it [96] and c before it [670]:

    f  = sigmoid(W_f x + U_f h + b_f)
    g  = tanh(W_g x + U_g h + b_g)
    o  = sigmoid(W_o x + U_o h + b_o)
    c' = f c + (1 - f) g              the input gate is what the forget gate leaves
    h' = P (o tanh(c'))
    p(next word) = softmax(E h')

Shape suffixes as in `fedkey_server.model`, D = 96; C = cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedkey_kernels import linear_cross_entropy
from fedkey_server.model import IGNORE, Losses

FORGET_BIAS = 1.0
"""A cell begins by remembering (Jozefowicz et al. 2015)."""


@dataclass(frozen=True)
class CifgConfig:
    """Shape of the network."""

    num_words: int = 10_000
    """Words that can be predicted; the unknown word and the sentence start have rows of their own."""
    width: int = 96
    """Of an embedding and of the projected state, D."""
    num_cells: int = 670
    """C."""
    window: int = 128
    """Longest document in words; a document of so many pieces has no more."""


class State(NamedTuple):
    """What the network remembers of a text."""

    h_bd: Tensor
    """[B, D] the projected output."""
    c_bc: Tensor
    """[B, C] the cells."""


class Cifg(nn.Module):
    """The network; `fedkey_server.rounds.client_update` trains it as it trains the transformer."""

    def __init__(self, config: CifgConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        gates = 3 * config.num_cells
        self.embedding_vd = nn.Parameter(torch.empty(config.num_words + 2, config.width))
        self.input_gd = nn.Parameter(torch.empty(gates, config.width))
        self.recurrent_gd = nn.Parameter(torch.empty(gates, config.width))
        self.bias_g = nn.Parameter(torch.zeros(gates))
        self.projection_dc = nn.Parameter(torch.empty(config.width, config.num_cells))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for matrix in (self.embedding_vd, self.input_gd, self.recurrent_gd):
                matrix.normal_(0.0, config.width**-0.5, generator=generator)
            self.projection_dc.normal_(0.0, config.num_cells**-0.5, generator=generator)
            self.bias_g[: config.num_cells] = FORGET_BIAS

    def start(self, num_rows: int) -> State:
        """Nothing read yet."""
        zeros = self.bias_g.new_zeros
        return State(zeros(num_rows, self.config.width), zeros(num_rows, self.config.num_cells))

    def step(self, words_b: Tensor, state: State) -> State:
        """Reads a word in each row, as the module's formulas say; int64 [B]. What `forward` has to agree
        with."""
        x_bd = self.embedding_vd[words_b]
        gates_bg = x_bd @ self.input_gd.T + state.h_bd @ self.recurrent_gd.T + self.bias_g
        forget, new, output = gates_bg.chunk(3, dim=-1)
        f = torch.sigmoid(forget)
        c_bc = f * state.c_bc + (1 - f) * torch.tanh(new)
        return State((torch.sigmoid(output) * torch.tanh(c_bc)) @ self.projection_dc.T, c_bc)

    def forward(self, words_bt: Tensor, positions_bt: Tensor) -> Tensor:
        """The state after each word, [B, T, D].

        Args:
            words_bt: int64 [B, T].
            positions_bt: int64 [B, T], counted from 0 in each document: a document does not see the one
                before it in its row.
        """
        cells = self.config.num_cells
        # What words do to gates is one product for all of them; only what the state does has to wait.
        inputs_tbg = (self.embedding_vd[words_bt.T] @ self.input_gd.T + self.bias_g).unbind()
        continues_tb1 = (positions_bt.T > 0).to(self.bias_g.dtype)[..., None].unbind()
        h, c = self.start(len(words_bt))
        states = []
        recurrent_dg, projection_cd = self.recurrent_gd.T, self.projection_dc.T
        for inputs_bg, continues_b1 in zip(inputs_tbg, continues_tb1, strict=True):
            gates_bg = torch.addmm(inputs_bg, h * continues_b1, recurrent_dg)
            forget, new, output = gates_bg.split(cells, dim=-1)
            # f c + (1 - f) g is lerp from g to c.
            c = torch.lerp(torch.tanh(new), c * continues_b1, torch.sigmoid(forget))
            h = (torch.sigmoid(output) * torch.tanh(c)) @ projection_cd
            states.append(h)
        return torch.stack(states, dim=1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log probabilities [..., V] of the next word."""
        return hidden @ self.embedding_vd.T

    def loss(
        self,
        words_bt: Tensor,
        targets_bt: Tensor,
        positions_bt: Tensor,
        document_ids_bt: Tensor,
        z_penalty: float = 0.0,
    ) -> Losses:
        """Sums over the graded targets of a batch, as `fedkey_server.model.Model.loss`. Documents are told
        apart by their positions."""
        hidden_btd = self(words_bt, positions_bt)
        graded_bt = targets_bt != IGNORE
        targets_n = targets_bt[graded_bt]
        total, nll, hits = linear_cross_entropy(
            hidden_btd[graded_bt], self.embedding_vd, targets_n, z_penalty
        )
        return Losses(total, nll, hits, targets_n.numel())

    @property
    def num_parameters(self) -> int:
        """Numbers that are learned."""
        return sum(parameter.numel() for parameter in self.parameters())
