"""How many exponentials an operator takes: on a GPU they may bind it, not bytes or products.

Beside torch's registry of FLOP formulas, which leaves them out. What is counted is what no form can
do without; what goes with a parameter rather than a token is left out too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket

Count = Callable[..., int]
_COUNTS: Final[dict[OpOverloadPacket, Count]] = {}


def register_exponentials(operator: OpOverloadPacket) -> Callable[[Count], Count]:
    """Register a count for an operator; it takes the operator's arguments, shapes for tensors."""

    def register(count: Count) -> Count:
        _COUNTS[operator] = count
        return count

    return register


def of_call(operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """Exponentials of one call, None if nobody has registered a count."""
    count = _COUNTS.get(operator.overloadpacket)
    if count is None:
        return None
    return count(*(tuple(x.shape) if isinstance(x, Tensor) else x for x in args), **kwargs)
