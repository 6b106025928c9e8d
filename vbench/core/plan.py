"""Spec -> cases. Pure: no device is touched, no model is built."""

import itertools
from collections.abc import Callable
from typing import Protocol

from vbench.core.types import BenchSpec, Case, ClipSpec


class ModelFacts(Protocol):
    """What a plan needs to know of a model."""

    @property
    def clip(self) -> tuple[int, int, int]:
        """Default (num_frames, height_px, width_px)."""

    @property
    def has_attention(self) -> bool:
        """Whether the attention axis applies."""


def expand(spec: BenchSpec, facts_of: Callable[[str], ModelFacts], *, device: str) -> list[Case]:
    """Cross every axis of `spec`, each model's cases from the smallest input to the largest.

    A model without attention is measured once, not once a backend.

    Args:
        spec: Its models are names, no patterns.
        facts_of: Facts of a model by name.
        device: What ``auto`` stands for on this machine.
    """
    cases: dict[str, Case] = {}
    for model in spec.models:
        facts = facts_of(model)
        attentions = spec.attentions if facts.has_attention else ("none",)
        batch_sizes = ("auto",) if spec.batch_sizes == "auto" else spec.batch_sizes
        grid = itertools.product(
            range(spec.repeats),
            spec.modes,
            spec.precisions,
            spec.compile,
            attentions,
            batch_sizes,
            _clips(spec, facts.clip),
        )
        for repeat, mode, precision, compiled, attention, batch_size, clip in grid:
            case = Case(
                model=model,
                clip=clip,
                batch_size=batch_size,  # type: ignore[arg-type]
                precision=precision,
                autocast=spec.autocast,
                mode=mode,
                attention=attention,  # type: ignore[arg-type]
                compile=compiled,
                cudagraph=spec.cudagraph,
                device=device,
                gpu=spec.gpu,
                probes=spec.probes,
                timing=spec.timing,
                seed=spec.seed,
                repeat=repeat,
            )
            cases[case.case_id] = case
    return list(cases.values())


def _clips(spec: BenchSpec, default: tuple[int, int, int]) -> list[ClipSpec]:
    sides = [(side, side) if isinstance(side, int) else side for side in spec.resolutions_px]
    return [
        ClipSpec(num_frames=num_frames, height_px=side[0], width_px=side[1])
        for side in sides or [default[1:]]
        for num_frames in spec.num_frames or [default[0]]
    ]


def dominates(larger: Case, smaller: Case) -> bool:
    """Whether `larger` asks for the same as `smaller` with no less of frames and pixels.

    Such a case cannot fit where the smaller one did not.
    """
    if _without_size(larger) != _without_size(smaller):
        return False
    if larger.batch_size == "auto" or smaller.batch_size == "auto":
        return False
    return (
        larger.batch_size >= smaller.batch_size
        and larger.clip.num_frames >= smaller.clip.num_frames
        and larger.clip.height_px >= smaller.clip.height_px
        and larger.clip.width_px >= smaller.clip.width_px
    )


def _without_size(case: Case) -> tuple[object, ...]:
    return tuple(
        getattr(case, field)
        for field in case.__struct_fields__
        if field not in ("clip", "batch_size", "repeat", "seed")
    )
