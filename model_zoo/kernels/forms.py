"""Which form of each operator has run in this process: records name it rather than predict it.

An operator has several forms, and which one runs depends on device, type and what is installed. A
replayed CUDA graph calls no operator at all; what was noted when it was captured still holds.
"""

from collections.abc import Mapping
from typing import Final

_RAN: Final[dict[str, str]] = {}


def note(operator: str, form: str) -> None:
    """Remember that the operator has just run in that form."""
    _RAN[operator] = form


def that_ran() -> Mapping[str, str]:
    """The form that each operator ran in last, since `forget`; gradients are operators too."""
    return dict(_RAN)


def forget() -> None:
    """Begin anew."""
    _RAN.clear()
