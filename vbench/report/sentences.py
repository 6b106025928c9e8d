"""The few sentences a person would want to read, computed from the frame."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import pandas as pd

from vbench.core.metrics import Kind
from vbench.core.units import number, scale_for, times, with_unit
from vbench.report import published
from vbench.report.derive import add_derived
from vbench.report.frame import points
from vbench.report.ratios import (
    Attribution,
    Curve,
    Quantity,
    attribution,
    crossing,
    curves,
    fit_growth,
)
from vbench.report.series import FAILURES, Panel, panels

_ALIKE: Final = 1.05
_KINDS: Final[tuple[Kind, ...]] = ("measured", "estimated")


def headline(frame: pd.DataFrame) -> list[str]:
    """Up to three sentences: on memory, on speed, on growth with frames.

    Where Figure 1's models were compared, on its claims. Each says whether its numbers were
    measured or estimated, and under which conditions.
    """
    frame = add_derived(frame)
    if not (frame["metric"].notna()).any():
        return [_nothing_finished(frame)]
    special = _figure1(frame)
    if special:
        return special
    found = [_memory(frame), _speed(frame), _growth(frame)]
    return [sentence for sentence in found if sentence]


def _nothing_finished(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "There are no records."
    endings = Counter(points(frame)["status"])
    counts = ", ".join(f"{n} {FAILURES.get(status, status)}" for status, n in endings.items())
    return f"None of {len(points(frame))} points finished: {counts}."


def _figure1(frame: pd.DataFrame) -> list[str]:
    memory, time = attribution(frame, "activations"), attribution(frame, "time")
    sentences = []
    if memory is not None:
        corners = memory.corners
        sentences.append(
            f"At {memory.num_frames} frames TimeSformer-Ti with joint, materialised attention "
            f"needs {times(memory.total)} times the memory of VideoMamba-Ti beyond weights and "
            f"clips; with a fused kernel {times(corners['joint', 'fused'])} times "
            f"({_setting(memory)})."
        )
        sentences.append(
            "With TimeSformer's own divided attention it needs "
            f"{times(corners['divided', 'materialised'])} times with a materialised matrix and "
            f"{times(corners['divided', 'fused'])} times with a fused kernel{_verdict(memory)}."
        )
    if time is not None:
        sentences.append(
            f"A clip of {time.num_frames} frames takes it {times(time.total)} times as long as "
            f"VideoMamba-Ti with joint, materialised attention and "
            f"{times(time.corners['joint', 'fused'])} times with a fused kernel "
            f"({_setting(time)}); published: {times(published.CLAIMED_THROUGHPUT_RATIO)} times at "
            f"{published.CLAIM_FRAMES} frames."
        )
    return sentences


def _verdict(memory: Attribution) -> str:
    """Say that only one setting comes near the claim, if that is so."""
    claim = published.CLAIMED_MEMORY_RATIO
    near = [corner for corner, ratio in memory.corners.items() if ratio > claim / 2]
    if near == [("joint", "materialised")]:
        return f": the published {claim:.0f} times holds for joint, materialised attention alone"
    return f"; the published figure is {claim:.0f} times"


def _setting(found: Attribution) -> str:
    return f"{found.kind}, {found.conditions}"


def _busiest(frame: pd.DataFrame, quantity: Quantity) -> tuple[Panel, list[Curve]] | None:
    """The panel and kind with the most curves to compare; measured before estimated."""
    best: tuple[Panel, list[Curve]] | None = None
    for kind in _KINDS:
        for panel in panels(frame):
            members = [curve for curve in curves(panel, quantity).get(kind, []) if curve.costs]
            if members and (best is None or len(members) > len(best[1])):
                best = panel, members
    return best


def _extremes(members: Sequence[Curve]) -> tuple[Curve, Curve, int] | None:
    """The dearest and the cheapest curve at the most frames that at least two have."""
    counts = Counter(x for curve in members for x in curve.costs)
    shared = [x for x, count in counts.items() if count > 1]
    if not shared:
        return None
    at = max(shared)
    present = [curve for curve in members if curve.costs.get(at, 0.0) > 0]
    if len(present) < 2:
        return None
    ordered = sorted(present, key=lambda curve: curve.costs[at])
    return ordered[-1], ordered[0], at


def _memory(frame: pd.DataFrame) -> str:
    busiest = _busiest(frame, "memory")
    if busiest is None:
        return ""
    panel, members = busiest
    setting = f"({members[0].kind}, {panel.conditions})"
    found = _extremes(members)
    if found is None:
        curve = members[0]
        at = max(curve.costs)
        amount = with_unit(curve.costs[at], "B")
        per = " a clip" if panel.is_auto_batch else ""
        return f"At {at} frames {curve.line.label} needs {amount} of memory{per} {setting}."
    dear, cheap, at = found
    if dear.costs[at] < _ALIKE * cheap.costs[at]:
        return f"At {at} frames all curves need about the same memory {setting}."
    scale = scale_for("B", [dear.costs[at], cheap.costs[at]])
    return (
        f"At {at} frames {dear.line.label} needs {times(dear.costs[at] / cheap.costs[at])} times "
        f"the memory of {cheap.line.label}: {scale.number(dear.costs[at])} against "
        f"{scale.with_unit(cheap.costs[at])} {setting}."
    )


def _speed(frame: pd.DataFrame) -> str:
    busiest = _busiest(frame, "time")
    if busiest is None:
        return ""
    panel, members = busiest
    setting = f"({members[0].kind}, {panel.conditions})"
    found = _extremes(members)
    if found is None:
        curve = members[0]
        at = max(curve.costs)
        rate = number(1 / curve.costs[at])
        return f"At {at} frames {curve.line.label} processes {rate} clips a second {setting}."
    slow, fast, at = found
    if slow.costs[at] < _ALIKE * fast.costs[at]:
        return f"At {at} frames all curves take about the same time a clip {setting}."
    return (
        f"At {at} frames {fast.line.label} processes {times(slow.costs[at] / fast.costs[at])} "
        f"times the clips a second of {slow.line.label}: {number(1 / fast.costs[at])} against "
        f"{number(1 / slow.costs[at])}{_crossing(fast, slow)} {setting}."
    )


def _crossing(fast: Curve, slow: Curve) -> str:
    at = crossing(slow, fast)
    if at is None:
        return ""
    within = f" ({at.low:.0f} to {at.high:.0f})" if at.low and at.high else ""
    return f"; below about {at.num_frames:.0f} frames{within} {slow.line.label} is the faster"


def _growth(frame: pd.DataFrame) -> str:
    for quantity, noun in (("memory", "memory"), ("time", "time a clip")):
        busiest = _busiest(frame, quantity)  # type: ignore[arg-type]
        if busiest is None:
            continue
        laws = [(curve, law) for curve in busiest[1] if (law := fit_growth(curve)) is not None]
        if not laws:
            continue
        laws.sort(key=lambda pair: pair[1].exponent)
        chosen = laws if len(laws) == 1 else [laws[-1], laws[0]]
        frames = [x for curve, _ in chosen for x in curve.costs]
        parts = [f"T^{law.exponent:.2f} for {curve.line.label}" for curve, law in chosen]
        kind = chosen[0][0].kind
        return (
            f"From {min(frames)} to {max(frames)} frames {noun} grows as "
            f"{' and '.join(parts)} ({kind})."
        )
    return ""
