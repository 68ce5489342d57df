"""fedkey's kernels: attention, normalisation, loss and optimizer, each beside its plain reference.

In: torch tensors. Out: torch tensors. Next stop: `fedkey_kernels.reference`, the definition of correct.
"""

from fedkey_kernels.attention import attention, block_sparse_attention
from fedkey_kernels.distillation import linear_distillation
from fedkey_kernels.linear_attention import linear_attention
from fedkey_kernels.lion import Lion
from fedkey_kernels.loss import bartlett_loss, linear_cross_entropy
from fedkey_kernels.mask import Mask, document_mask, length_mask, order_masks
from fedkey_kernels.muon import Muon
from fedkey_kernels.norm import rms_norm, rotary_table, rotate
from fedkey_kernels.sophia import SophiaG, SophiaH

__all__ = [
    "Lion",
    "Mask",
    "Muon",
    "SophiaG",
    "SophiaH",
    "attention",
    "bartlett_loss",
    "block_sparse_attention",
    "document_mask",
    "length_mask",
    "linear_attention",
    "linear_cross_entropy",
    "linear_distillation",
    "order_masks",
    "rms_norm",
    "rotary_table",
    "rotate",
]
