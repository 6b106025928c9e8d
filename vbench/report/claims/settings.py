"""Under which settings a claim holds, found from trying it under many."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vbench.report.claims import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to read a claim, and the number that came of it.

    Attributes:
        axes: What may differ between settings, each value in words.
    """

    axes: Mapping[str, str]
    value: float


def verdict_of(settings: Sequence[Setting], holds: Callable[[float], bool]) -> tuple[Verdict, str]:
    """The verdict, and the condition where some settings hold and others do not.

    The condition names each axis of which only some values hold. Where that is not enough, it says
    what is to be left out, or how many of the settings so named hold.
    """
    good = [setting for setting in settings if holds(setting.value)]
    if not settings:
        return Verdict.CANNOT_BE_TESTED, ""
    if len(good) == len(settings):
        return Verdict.HOLDS, ""
    if not good:
        return Verdict.DOES_NOT_HOLD, ""
    clause = _clause(good, settings)
    named = [setting for setting in settings if _matches(setting, clause)]
    bad = [setting for setting in named if not holds(setting.value)]
    words = _words(clause)
    if bad:
        words = f"{words}{_exception(bad, named)}" if words else _count(good, settings)
    return Verdict.HOLDS_ONLY_IF, words


def _clause(some: Sequence[Setting], every: Sequence[Setting]) -> dict[str, list[str]]:
    """Axes that have fewer values among some settings than among all, with those values."""
    clause = {}
    for axis in every[0].axes:
        values = list(dict.fromkeys(setting.axes[axis] for setting in some))
        if len(values) < len({setting.axes[axis] for setting in every}):
            clause[axis] = values
    return clause


def _matches(setting: Setting, clause: Mapping[str, list[str]]) -> bool:
    return all(setting.axes[axis] in values for axis, values in clause.items())


def _exception(bad: Sequence[Setting], named: Sequence[Setting]) -> str:
    """What the named settings do not hold for, if that can be named in turn."""
    clause = _clause(bad, named)
    alike = [setting for setting in named if _matches(setting, clause)]
    if clause and len(alike) == len(bad):
        return f", but not with {_words(clause, joined=' and ')}"
    return f", and even then in {len(named) - len(bad)} of {len(named)} settings"


def _count(some: Sequence[Setting], every: Sequence[Setting]) -> str:
    return f"in {len(some)} of {len(every)} settings"


def _words(clause: Mapping[str, list[str]], *, joined: str = ", ") -> str:
    parts = [" or ".join(value for value in values if value) for values in clause.values()]
    return joined.join(part for part in parts if part)


def least_that_rounds_to(claimed: float) -> float:
    """The least number that rounds to a claim printed with one digit that means something.

    >>> least_that_rounds_to(40), least_that_rounds_to(6), least_that_rounds_to(3)
    (35.0, 5.5, 2.5)
    """
    unit = 1.0
    while claimed >= 10 * unit:
        unit *= 10
    return claimed - unit / 2
