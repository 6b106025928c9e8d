"""Count again what papers print: each published count's own case, and others that may explain it.

Everything runs on the meta device, so a case costs seconds whatever its size.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

import model_zoo
from vbench.core import store
from vbench.core.printed import Printed
from vbench.core.types import BenchSpec, Case, ClipSpec
from vbench.measure import sweep
from vbench.measure.runner import Runner

METRICS: Final = ("params", "trainable_params", "macs", "macs_per_video")
PROBES: Final = ("macs", "head", "fvcore_macs", "thop_macs")
OTHER_PROBES: Final = ("macs",)

# Test crops and clip lengths of the field, any of which a table may silently stand for.
COMMON_SIZES_PX: Final = (112, 128, 160, 182, 192, 224, 256, 288, 312, 320, 336, 356, 384, 448)
COMMON_FRAMES: Final = (4, 8, 16, 32, 64)


def printed_counts(patterns: Sequence[str] = ()) -> list[Printed]:
    """The published operation and parameter counts of some models, each with its case.

    Args:
        patterns: Names or shell patterns; empty for every variant of the zoo.

    Raises:
        UsageError: One matches no model.
    """
    spec = sweep.resolved(_spec(tuple(patterns) or ("*",)))
    return [
        _printed(row, sweep.entry_of(name))
        for name in spec.models
        for row in model_zoo.published(name)
        if row.metric in METRICS
    ]


def other_inputs(rows: Iterable[Printed]) -> list[Case]:
    """Cases of the same models at other common sizes or numbers of frames."""
    cases: dict[str, Case] = {}
    for row in rows:
        if not row.metric.startswith("macs"):
            continue
        clip = row.case.clip
        sizes = [(clip.num_frames, side, side) for side in COMMON_SIZES_PX]
        lengths = [(frames, clip.height_px, clip.width_px) for frames in COMMON_FRAMES]
        for frames, height, width in sizes + (lengths if clip.num_frames > 1 else []):
            other = ClipSpec(num_frames=frames, height_px=height, width_px=width)
            case = msgspec.structs.replace(row.case, clip=other, probes=OTHER_PROBES)
            cases[case.case_id] = case
    return list(cases.values())


class Desk:
    """A run folder that cases can be counted into, a batch of them after another."""

    def __init__(self, run_dir: Path, runner: Runner, writer: store.RunWriter) -> None:
        self.run_dir = run_dir
        self._runner = runner
        self._writer = writer

    def run(self, cases: Iterable[Case]) -> sweep.Run:
        """A run of `cases`; what the folder holds already is not counted again."""
        distinct = list({case.case_id: case for case in cases}.values())
        return sweep.Run(
            spec=_spec(tuple(dict.fromkeys(case.model for case in distinct)) or ("*",)),
            run_dir=self.run_dir,
            cases=distinct,
            stored=store.read(self.run_dir),
            runner=self._runner,
            writer=self._writer,
            run_id=self._runner.run_id,
        )


@contextlib.contextmanager
def opened(run_dir: Path) -> Iterator[Desk]:
    """Open `run_dir` for this audit alone.

    Raises:
        UsageError: Another audit writes there.
        StoreError: The folder cannot be written.
    """
    log = run_dir / sweep.LOG_FILE
    with (
        store.RunWriter(run_dir) as writer,
        sweep.runner_for(_spec(("*",)), log=log) as runner,
    ):
        yield Desk(run_dir, runner, writer)


def _spec(models: tuple[str, ...]) -> BenchSpec:
    return BenchSpec(name="audit", models=models, device="meta", probes=PROBES)


def _printed(row: model_zoo.PublishedNumber, entry: model_zoo.ModelEntry) -> Printed:
    frames, height, width = entry.clip
    clip = ClipSpec(
        num_frames=row.num_frames or frames,
        height_px=row.size_px or height,
        width_px=row.size_px or width,
    )
    return Printed(
        name=row.model,
        metric=row.metric,
        value=row.value,
        rounding=row.rounding,
        text=row.text,
        word=row.note.partition(";")[0] if row.metric.startswith("macs") else "",
        dataset=row.dataset,
        frames=row.num_frames,
        size_px=row.size_px,
        views=(row.num_clips, row.num_crops) if row.num_clips and row.num_crops else (),
        source=row.source,
        location=row.location,
        case=Case(
            model=entry.name,
            clip=clip,
            batch_size=1,
            attention="sdpa" if entry.has_attention else "none",
            device="meta",
            probes=PROBES,
        ),
    )
