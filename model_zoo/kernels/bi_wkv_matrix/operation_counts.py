"""What the matrix-valued Bi-WKV costs. Sizes: B batch, N tokens, H heads, D channels of a head."""

import math
from collections.abc import Sequence


def multiply_adds(v: Sequence[int]) -> int:
    """Multiply-adds of the recurrence: 7 B N H D D.

    Per entry of the state and direction one for the pair k^T v, one for the decay and one to read;
    one more for the token itself. So counts Vision-RWKV for its kernel for RWKV-6 too, as FLOPs
    that it adds to totals in which a multiply-add is one (OpenGVLab/Vision-RWKV@0e0e38a,
    ``classification/get_flops_backbone.py``).

    Args:
        v: (B, N, H, D).
    """
    return 7 * math.prod(v) * v[-1]


def exponentials(v: Sequence[int]) -> int:
    """None a token: the decay is one number a row of the state, keys are not exponentiated."""
    return 0


def backward_multiply_adds(v: Sequence[int]) -> int:
    """Multiply-adds of the gradients, states recomputed: 18 B N H D D.

    Per entry and direction two to recompute the state and two for its adjoint, one each to read
    the gradients of r, k and v, one for the decay; two more for the token itself.
    """
    return 18 * math.prod(v) * v[-1]
