"""Who may look at whom in packed rows, said once per batch and read by every layer.

In: the document of each position, or cumulative lengths. Out: a `Mask`. Next stop:
`fedkey_kernels.attention`.

A document is a run of positions side by side, so two numbers a position say everything: where its document
starts and where it ends. From them the kernels know which blocks of scores they can leave out; a dense mask
would cost T^2 bytes to write and to read.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
NO_WINDOW = 0


class Mask(NamedTuple):
    """Position i sees position j if both are in one document and `causal` and `window` allow it."""

    starts_bt: Tensor
    """int32 [B, T]: first position of the document; padding is a document of its own, one position long."""
    ends_bt: Tensor
    """int32 [B, T]: one past the last position of the document."""
    causal: bool = True
    """Whether a position sees only itself and what stands before it."""
    window: int = NO_WINDOW
    """Position i sees i - window + 1 to i + window - 1 at most; 0 for no such limit."""
    tile: int = 0
    """Promise that no document crosses a multiple of `tile`; 0 for no promise."""
    bias_b1tt: Tensor | None = None
    """The same as SDPA wants it, 0 where allowed and minus infinity elsewhere, if somebody made it
    already."""
    dense_btt: Tensor | None = None
    """bool [B, T, T]: who sees whom in place of all the rest, where two numbers a position cannot say it.
    Every query must see a key."""

    def visible_btt(self) -> Tensor:
        """Dense bool [B, T, T], true where query i may attend to key j. Every row holds its own diagonal, but
        for rows of `dense_btt`."""
        if self.dense_btt is not None:
            return self.dense_btt
        positions_t = torch.arange(self.starts_bt.shape[1], device=self.starts_bt.device)
        query_t1, key_1t = positions_t[:, None], positions_t[None, :]
        visible_btt = (key_1t >= self.starts_bt[:, :, None]) & (key_1t < self.ends_bt[:, :, None])
        if self.causal:
            visible_btt = visible_btt & (key_1t <= query_t1)
        if self.window:
            visible_btt = visible_btt & ((query_t1 - key_1t).abs() < self.window)
        return visible_btt

    def with_bias(self, dtype: torch.dtype) -> Mask:
        """The same mask with `bias_b1tt`, which layers would otherwise each make anew."""
        visible_b1tt = self.visible_btt()[:, None]
        bias_b1tt = torch.zeros(visible_b1tt.shape, dtype=dtype, device=visible_b1tt.device)
        return self._replace(bias_b1tt=bias_b1tt.masked_fill_(~visible_b1tt, float("-inf")))


def document_mask(
    document_ids_bt: Tensor, *, causal: bool = True, window: int = NO_WINDOW, tile: int = 0
) -> Mask:
    """The mask of packed rows.

    Args:
        document_ids_bt: integer [B, T]; a run of equal numbers is one document, negative ones are padding, of
            which each position sees itself alone, so that no row of a softmax is empty and nothing is NaN.
        causal, window, tile: see `Mask`.

    Raises:
        ValueError: ids that are not integers [B, T], a negative window, a document that breaks the promise of
            `tile` (looked at on the CPU only, where it waits for no device, and not under torch.compile).
    """
    if document_ids_bt.dim() != 2 or document_ids_bt.dtype not in _INTEGERS:
        raise ValueError(
            f"document_ids must be integers [B, T], not {document_ids_bt.dtype} {list(document_ids_bt.shape)}"
        )
    num_positions = document_ids_bt.shape[1]
    begins_bt = torch.ones_like(document_ids_bt, dtype=torch.bool)
    begins_bt[:, 1:] = (document_ids_bt[:, 1:] != document_ids_bt[:, :-1]) | (document_ids_bt[:, 1:] < 0)
    return _mask(begins_bt, num_positions, causal, window, tile)


def length_mask(
    cumulative_lengths: Tensor,
    num_positions: int,
    *,
    causal: bool = True,
    window: int = NO_WINDOW,
    tile: int = 0,
) -> Mask:
    """The mask of one row of documents laid end to end, [1, T], from their cumulative lengths.

    Args:
        cumulative_lengths: integer [D + 1], from 0 on, not decreasing; document d holds positions
            cumulative_lengths[d] to cumulative_lengths[d + 1] - 1. What lies behind the last is padding.
        num_positions: T.
        causal, window, tile: see `Mask`.

    Raises:
        ValueError: as `document_mask`, and lengths that are not integers [D + 1].
    """
    if cumulative_lengths.dim() != 1 or cumulative_lengths.dtype not in _INTEGERS:
        raise ValueError(
            "cumulative_lengths must be integers [D + 1], "
            f"not {cumulative_lengths.dtype} {list(cumulative_lengths.shape)}"
        )
    positions_t = torch.arange(num_positions, device=cumulative_lengths.device)
    begins_t = torch.isin(positions_t, cumulative_lengths) | (positions_t >= cumulative_lengths[-1])
    begins_t[:1] = True
    return _mask(begins_t[None], num_positions, causal, window, tile)


def order_masks(ranks_bt: Tensor, document_ids_bt: Tensor) -> tuple[Mask, Mask]:
    """The masks of two-stream attention (XLNet, 1906.08237, section 2.3) over packed rows, in which each
    document is read in an order of its own.

    Args:
        ranks_bt: integer [B, T]: place of each position in the order of its document; no two of a document
            alike.
        document_ids_bt: as in `document_mask`.

    Returns:
        Whom the content stream sees: itself and what comes before it in the order. And whom the query stream
        sees, whose keys are the content stream's: what comes before it, and not itself, which it predicts. A
        position before which nothing comes sees itself in both: nothing can be asked of it.
    """
    whole = document_mask(document_ids_bt, causal=False)
    together_btt = whole.visible_btt()
    earlier_btt = together_btt & (ranks_bt[:, None, :] < ranks_bt[:, :, None])
    itself_tt = torch.eye(ranks_bt.shape[1], dtype=torch.bool, device=ranks_bt.device)
    blind_bt1 = ~earlier_btt.any(dim=-1, keepdim=True)
    content, query = earlier_btt | itself_tt, earlier_btt | (blind_bt1 & itself_tt)
    return whole._replace(dense_btt=content), whole._replace(dense_btt=query)


def _mask(begins_bt: Tensor, num_positions: int, causal: bool, window: int, tile: int) -> Mask:
    if window < 0 or tile < 0:
        raise ValueError(f"window and tile must not be negative, but they are {window} and {tile}")
    positions_t = torch.arange(num_positions, dtype=torch.int32, device=begins_bt.device)
    zero = torch.zeros((), dtype=torch.int32, device=begins_bt.device)
    starts_bt = torch.where(begins_bt, positions_t, zero).cummax(dim=1).values
    # A document ends where the next one begins: the smallest such place at or behind this position.
    after_bt = torch.full_like(starts_bt, num_positions)
    after_bt[:, :-1] = torch.where(begins_bt[:, 1:], positions_t[1:], num_positions)
    ends_bt = after_bt.flip(1).cummin(dim=1).values.flip(1)
    looks = begins_bt.device.type == "cpu" and not torch.compiler.is_compiling()
    if tile and looks and bool((starts_bt // tile != positions_t // tile).any()):
        raise ValueError(f"a document crosses a multiple of tile {tile}; pack it so that none does")
    return Mask(starts_bt.contiguous(), ends_bt.contiguous(), causal, window, tile)
