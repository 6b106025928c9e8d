"""What another counter found, and why it may have found nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Libraries that trace or hook arbitrary models fail in any of these ways; a bug of ours that
# raises one of them shows as the text of a note, never as a number.
COUNTER_FAILURES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherCount:
    """Multiply-accumulates of one forward pass according to another library.

    Attributes:
        by_operator: Under the library's own names.
        missed: What it saw and had no rule for, with how often.
        counts_modules: Whether it goes by modules, not by operators.
        known_types: Types of module that it has a rule for, with the module they are from.
        subclasses: Types in the model that derive from one of these and have no rule.
    """

    library: str
    by_operator: Mapping[str, float]
    missed: Mapping[str, int] = field(default_factory=dict)
    counts_modules: bool = False
    known_types: frozenset[str] = frozenset()
    subclasses: frozenset[str] = frozenset()

    @property
    def macs(self) -> float:
        """All of them."""
        return sum(self.by_operator.values())


def explained(error: BaseException) -> str:
    """Kind and first line of what a library raised."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
