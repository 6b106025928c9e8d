"""`vbench show`: what is known of one model or of one architecture, without building it."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

import model_zoo
from vbench.cli import console
from vbench.cli.options import AsJson
from vbench.core.errors import UsageError
from vbench.measure.sweep import entry_of

NUMBER_COLUMNS = (
    *("model", "metric", "published", "dataset", "frames", "px", "clips x crops"),
    *("pretraining", "source", "note"),
)
CHECKPOINT_COLUMNS = (
    *("model", "file", "classes of", "frames", "px", "licence", "source", "note"),
)


def show(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FAMILY", help="A name from `vbench models`, or an architecture's."
        ),
    ],
    json: AsJson = False,
) -> None:
    """Show a model or a family: origin, input, published numbers, released checkpoints.

    Example: vbench show videomamba_tiny
    """
    variants = model_zoo.list_models(family=model)
    if variants and model not in variants:
        show_family(model, variants, json=json)
        return
    try:
        entry = entry_of(model)
    except UsageError as error:
        families = f"; families: {', '.join(families_like(model))}" if families_like(model) else ""
        raise UsageError(str(error), hint=f"{error.hint}{families}") from None
    if json:
        console.data(
            {
                "model": entry,
                "published": [number_data(row) for row in model_zoo.published(entry.name)],
                "checkpoints": model_zoo.released_checkpoints(entry.name),
            }
        )
        return
    console.table(entry.name, ("fact", "value"), facts(entry))
    print_published(entry.name, model_zoo.published(entry.name))
    print_checkpoints(entry.name, model_zoo.released_checkpoints(entry.name))


def show_family(family: str, variants: list[str], *, json: bool) -> None:
    """Print the variants of one architecture, what was published of them and released."""
    entries = [model_zoo.model_entry(name) for name in variants]
    numbers = [row for name in variants for row in model_zoo.published(name)]
    released = [file for name in variants for file in model_zoo.released_checkpoints(name)]
    if json:
        console.data(
            {
                "family": family,
                "models": entries,
                "published": [number_data(row) for row in numbers],
                "checkpoints": released,
            }
        )
        return
    first = entries[0]
    console.table(
        first.title,
        ("fact", "value"),
        [
            ("paper", first.paper),
            ("official code", first.repository),
            ("licence of the code", first.licence),
            ("attention", attention(first)),
        ],
    )
    _section(
        "variants",
        ("model", "clip", "classes of", "parameters published", "summary"),
        [(e.name, clip(e), e.label_space, printed(e.name, "params"), e.summary) for e in entries],
    )
    print_published(family, numbers)
    print_checkpoints(family, released)


def families_like(text: str) -> list[str]:
    """Families whose name begins like `text`."""
    families = {model_zoo.model_entry(name).family for name in model_zoo.list_models()}
    return sorted(name for name in families if name.startswith(text[:4]))


def facts(entry: model_zoo.ModelEntry) -> list[tuple[str, str]]:
    """What a reader wants first."""
    classes = entry.num_classes
    heads = (
        classes if isinstance(classes, int) else ", ".join(f"{k} {v}" for k, v in classes.items())
    )
    return [
        ("architecture", entry.title),
        ("summary", entry.summary),
        ("clip", clip(entry)),
        ("classes", f"{heads} ({entry.label_space})"),
        ("attention", attention(entry)),
        ("paper", entry.paper),
        ("official code", entry.repository),
        ("licence of the code", entry.licence),
        ("family", ", ".join(model_zoo.list_models(family=entry.family))),
    ]


def clip(entry: model_zoo.ModelEntry) -> str:
    """The default input in words."""
    frames, height, width = entry.clip
    return f"{frames} frames of {height}x{width}" if frames > 1 else f"image of {height}x{width}"


def attention(entry: model_zoo.ModelEntry) -> str:
    """The attention backends in words."""
    return ", ".join(model_zoo.ATTENTIONS) if entry.has_attention else "none"


def printed(variant: str, metric: str) -> str:
    """What was published of one metric, each value once."""
    found = (row.text for row in model_zoo.published(variant) if row.metric == metric)
    return ", ".join(dict.fromkeys(found))


def print_published(title: str, numbers: Iterable[model_zoo.PublishedNumber]) -> None:
    """A line a published number; nothing if there is none."""
    rows = [
        (
            row.variant,
            row.metric,
            row.text,
            row.dataset,
            row.num_frames,
            row.size_px,
            f"{row.num_clips}x{row.num_crops}" if row.num_views else "",
            row.pretraining,
            f"{row.source} {row.location}",
            row.note,
        )
        for row in numbers
    ]
    _section(f"{title}: published", NUMBER_COLUMNS, rows)


def print_checkpoints(title: str, released: Iterable[model_zoo.ReleasedCheckpoint]) -> None:
    """A line a released file; nothing if there is none."""
    rows = [
        (
            one.variant,
            one.file,
            one.label_space,
            one.num_frames,
            one.resolution_px,
            one.licence,
            one.source,
            one.note,
        )
        for one in released
    ]
    _section(f"{title}: released checkpoints", CHECKPOINT_COLUMNS, rows)


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A further table, after an empty line where tables are not framed."""
    if rows:
        console.gap()
        console.table(title, columns, rows)


def number_data(row: model_zoo.PublishedNumber) -> dict[str, Any]:
    """A published number as JSON, its value in base units beside what was printed."""
    return {
        "variant": row.variant,
        "model": row.model,
        "dataset": row.dataset,
        "metric": row.metric,
        "value": row.value,
        "printed": row.text,
        "num_frames": row.num_frames,
        "frame_stride": row.frame_stride,
        "size_px": row.size_px,
        "num_clips": row.num_clips,
        "num_crops": row.num_crops,
        "pretraining": row.pretraining,
        "source": row.source,
        "location": row.location,
        "note": row.note,
    }
