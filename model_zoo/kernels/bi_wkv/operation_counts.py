"""What Bi-WKV costs, in each of the conventions in use. Sizes: B batch, T tokens, C channels."""

import math
from collections.abc import Sequence


def multiply_adds(v: Sequence[int]) -> int:
    """Multiply-adds of the recurrence: 7 B T C.

    One for the weighted value; for numerator and denominator each one a direction and one for the
    token itself. The exponential and the division are not multiply-adds.

    Args:
        v: (B, T, C).
    """
    return 7 * math.prod(v)


def backward_multiply_adds(v: Sequence[int]) -> int:
    """Multiply-adds of the gradients: 21 B T C.

    7 to recompute the sums, 6 for the same sums of the incoming gradients, 2 for k and v, 2 for the
    bonus and 4 for the decay.
    """
    return 21 * math.prod(v)


def exponentials(v: Sequence[int]) -> int:
    """Exponentials of the keys, one an element: B T C; the backward pass takes them once more.

    The decay is one number a channel, so that its powers come from multiplications.
    """
    return math.prod(v)


def vision_rwkv_flops(v: Sequence[int]) -> int:
    """FLOPs as Vision-RWKV counts them: 29 B T C, added to totals in which a multiply-add is one.

    Source: ``vrwkv_flops`` in OpenGVLab/Vision-RWKV@0e0e38a,
    ``classification/get_flops_backbone.py``.
    """
    return 29 * math.prod(v)
