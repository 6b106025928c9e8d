"""What a selective scan costs, in each of the conventions that papers use.

No two agree, so each is a function of its own. Sizes: G directions, B batch, L tokens, E channels,
N states. VideoMamba (OpenGVLab/VideoMamba@f3427e4) prints none at all: its fvcore counts skip the
whole fused operator, scan, convolution and inner projections; `videomamba_printed` says so.
"""

import math
from collections.abc import Sequence


def multiply_adds(u: Sequence[int], num_states: int, *, has_skip: bool = True) -> int:
    """Multiply-adds of the recurrence: G B (3 L E N + L E).

    Per state one for the increment, one for the recurrence, one for the read-out; per channel one
    for the skip D. The exponentials, the softplus and the gate are not multiply-adds.

    Args:
        u: (G, B, L, E).
    """
    return math.prod(u) * (3 * num_states + has_skip)


def backward_multiply_adds(
    u: Sequence[int], num_states: int, *, has_skip: bool = True, has_gate: bool = True
) -> int:
    """Multiply-adds of the gradients, the recomputation included as torch counts attention's.

    Per state 2 to recompute it, 2 for the adjoint, 1 each for B, C and what u and delta share,
    2 for the exponent and 1 each for its delta and A; 1 more to recompute what the gate multiplies.
    Per channel 2 for the skip.
    """
    return math.prod(u) * ((10 + has_gate) * num_states + 2 * has_skip)


def exponentials(u: Sequence[int], num_states: int) -> int:
    """Exponentials of the decays, one a state: G B L E N.

    The backward pass takes them once more: its adjoints decay as its recomputed states do. The
    softplus and the gate take one each a channel, which is not counted.
    """
    return math.prod(u) * num_states


def vmamba_flops(
    u: Sequence[int], num_states: int, *, has_skip: bool = True, has_gate: bool = True
) -> int:
    """FLOPs as VMamba counts them: G B (9 L E N + L E for D + L E for z).

    Source: ``flops_selective_scan_fn`` in MzeroMiko/VMamba@2ed52ea, after state-spaces/mamba
    issue 110. VMamba adds this to totals in which a multiply-add counts once.
    """
    return math.prod(u) * (9 * num_states + has_skip + has_gate)


def videomamba_printed(u: Sequence[int], num_states: int) -> int:
    """What the scan adds to the GFLOPs printed for VideoMamba: nothing."""
    return 0
