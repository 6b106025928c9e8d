"""Fused attention on the meta device: the operators that CUDA would choose, so their memory shows.

On meta torch takes `scaled_dot_product_attention` apart into matrix products, which is right for
counting and wrong for memory: a fused kernel never holds the N x N scores.

Source: torch 2.13, ``aten/src/ATen/native/transformers/attention.cpp`` and ``cuda/sdp_utils.cpp``.

Shapes: B batch, H heads, N queries, M keys, C channels of a head.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from vbench.core.errors import UsageError

aten = torch.ops.aten

HALVES: Final = (torch.float16, torch.bfloat16)
FLASH_ALIGNMENT: Final = 8  # channels of a head
MASK_ALIGNMENT: Final = 8  # elements of a row of the mask
MAX_FLASH_CHANNELS: Final = 256
MAX_CUDNN_CHANNELS: Final = 128


class AttentionKernels:
    """Runs attention by the first kernel that is enabled and can take the inputs.

    Attributes:
        used: How often each kernel ran.
    """

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()

    def run(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,  # noqa: FBT001, FBT002 - torch's own signature
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Attend, arguments as of `torch.nn.functional.scaled_dot_product_attention`.

        Raises:
            UsageError: A kernel is forced that cannot run these inputs.
        """
        kernel = choose(q, k, v, attn_mask, enable_gqa=enable_gqa)
        self.used[kernel] += 1
        if kernel == "math":
            out: Tensor = aten.scaled_dot_product_attention(
                q, k, v, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
            return out
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        return _FUSED[kernel](q, k, v, attn_mask, dropout_p, is_causal, scale)


def choose(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, enable_gqa: bool) -> str:
    """Name of the kernel, among those that `torch.nn.attention.sdpa_kernel` leaves enabled.

    Raises:
        UsageError: None of them can run these inputs.
    """
    cuda = torch.backends.cuda
    is_half = q.dtype in HALVES
    is_batched = q.ndim == k.ndim == v.ndim == 4
    channels = q.shape[-1]
    may_pad = is_half and is_batched and channels == v.shape[-1]
    can_flash = may_pad and mask is None and channels <= MAX_FLASH_CHANNELS
    can_efficient = (
        is_batched
        and (is_half or q.dtype == torch.float32)
        and not enable_gqa
        and not any(x.shape[-1] % (8 if is_half else 4) for x in (q, v))
    )
    can_cudnn = may_pad and channels % 8 == 0 and channels <= MAX_CUDNN_CHANNELS
    candidates = {
        "flash": cuda.flash_sdp_enabled() and can_flash,
        "efficient": cuda.mem_efficient_sdp_enabled() and can_efficient,
        "math": cuda.math_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled() and can_cudnn,
    }
    for name, is_usable in candidates.items():
        if is_usable:
            return name
    masked = "with a mask" if mask is not None else "without a mask"
    raise UsageError(
        f"the attention kernel that is asked for cannot take {q.dtype} of shape {tuple(q.shape)} "
        f"{masked}",
        hint="use attention sdpa, which chooses one that can",
    )


def _flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,  # noqa: FBT001
    scale: float,
) -> Tensor:
    padded = [_pad_rows(x, FLASH_ALIGNMENT) for x in (q, k, v)]
    out: Tensor = aten._scaled_dot_product_flash_attention(
        *padded, dropout_p, is_causal, return_debug_mask=False, scale=scale
    )[0]
    return out[..., : q.shape[-1]] if out.shape[-1] != q.shape[-1] else out


def _efficient(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,  # noqa: FBT001
    scale: float,
) -> Tensor:
    out: Tensor = aten._scaled_dot_product_efficient_attention(
        q,
        k,
        v,
        _prepared(mask, q, k),
        _needs_grad(q, k, v, mask),
        dropout_p,
        is_causal,
        scale=scale,
    )[0]
    return out


def _cudnn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,  # noqa: FBT001
    scale: float,
) -> Tensor:
    out: Tensor = aten._scaled_dot_product_cudnn_attention(
        q,
        k,
        v,
        _additive(mask, q.dtype),
        _needs_grad(q, k, v, mask),
        dropout_p,
        is_causal,
        return_debug_mask=False,
        scale=scale,
    )[0]
    return out


_FUSED: Final[dict[str, Callable[..., Tensor]]] = {
    "flash": _flash,
    "efficient": _efficient,
    "cudnn": _cudnn,
}


def _needs_grad(*inputs: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A boolean mask as one that is added to the scores: another tensor of its size."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask.logical_not(), float("-inf"))


def _prepared(mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """The additive mask in rows of aligned length, seen as (B, H, N, M) without a copy."""
    mask = _additive(mask, q.dtype)
    if mask is None:
        return None
    if any(stride % MASK_ALIGNMENT for stride in mask.stride()[:-1]):
        mask = _pad_rows(mask, MASK_ALIGNMENT)[..., : mask.shape[-1]]
    return mask.expand(*q.shape[:-1], k.shape[-2])  # (B, H, N, M)


def _pad_rows(x: Tensor, alignment: int) -> Tensor:
    missing: Any = -x.shape[-1] % alignment
    return F.pad(x, (0, missing)) if missing else x
