"""Claims judged: each judge is a file here that reads points and gives every part a verdict.

A verdict is one of a closed list, and each number in its words is computed from the points or
stands in the claim's file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from vbench.core.claims import Claim
from vbench.core.registry import Registry

if TYPE_CHECKING:
    from vbench.report.claims.points import Point
    from vbench.report.tables import Table


class Verdict(StrEnum):
    """What may be said of a claim."""

    HOLDS = "holds"
    HOLDS_ONLY_IF = "holds only if"
    DOES_NOT_HOLD = "does not hold"
    CANNOT_BE_TESTED = "cannot be tested here"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was found of one part of a claim.

    Attributes:
        found: The numbers, in a sentence or two; or what is missing.
        condition: Under which it holds, where it does not hold under all.
        kind: Of its numbers: measured, estimated or counted; empty without any.
    """

    part: str
    verdict: Verdict
    found: str
    condition: str = ""
    kind: str = ""

    def __post_init__(self) -> None:
        if (self.verdict is Verdict.HOLDS_ONLY_IF) != bool(self.condition):
            raise ValueError(f"a condition and `holds only if` go together: {self}")

    @property
    def text(self) -> str:
        """Verdict and condition in one."""
        return f"{self.verdict}: {self.condition}" if self.condition else str(self.verdict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Findings on all parts of a claim, and the numbers they rest on.

    Attributes:
        tables: For the page.
        data: Tables too long for it, written beside it.
    """

    findings: tuple[Finding, ...]
    tables: "tuple[Table, ...]" = ()
    data: "tuple[Table, ...]" = ()


Judge = Callable[[Claim, "Sequence[Point]"], Judgement]

JUDGES: Final[Registry[Judge]] = Registry("judge", package=__name__)


def judge(function: Judge) -> Judge:
    """Register the decorated function as a judge under its own name."""
    JUDGES.add(function.__name__, function)
    return function


def judged(claim: Claim, points: "Sequence[Point]") -> Judgement:
    """The judgement of a claim's judge, with a finding for each of its parts, in their order."""
    judgement = JUDGES[claim.judge](claim, points)
    found = {finding.part: finding for finding in judgement.findings}
    wanted = [part.name for part in claim.parts]
    if sorted(found) != sorted(wanted):
        raise ValueError(f"{claim.judge} judged {sorted(found)}, {claim.name} has: {wanted}")
    return replace(judgement, findings=tuple(found[name] for name in wanted))


def untested(claim: Claim, reason: str) -> Judgement:
    """What is said of a claim whose points could not be taken."""
    return Judgement(
        findings=tuple(
            Finding(part=part.name, verdict=Verdict.CANNOT_BE_TESTED, found=reason)
            for part in claim.parts
        )
    )
