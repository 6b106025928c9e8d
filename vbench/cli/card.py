"""One record as a card: a row a quantity, a column a kind of number."""

from typing import Any

import msgspec

import model_zoo
from vbench.cli import console
from vbench.core import summary
from vbench.core.types import SCHEMA_VERSION, Case, Record

KINDS = ("measured", "counted", "estimated")
PRINTED = {
    "params": "parameters",
    "trainable_params": "parameters trained",
    "macs": "MACs a clip, exact",
    "macs_per_video": "MACs a clip, exact",
}


def show(record: Record) -> None:
    """Print the card to stdout, what explains it to stderr."""
    console.table(title(record), columns(record), cells(record))
    environment = record.environment
    if environment is not None:
        console.note(f"device: {environment.device_name}, torch {environment.torch}")
    for topic, text in sorted(record.notes.items()):
        if not text.startswith("{"):  # tables by operator are in the JSON
            console.note(f"{topic.replace('_', ' ')}: {text}")


def columns(record: Record) -> list[str]:
    """Heads of the table; an estimate names the GPU it is for."""
    gpu = record.notes.get("estimate_gpu", "").partition(":")[0]
    heads = {"estimated": f"estimated for {gpu}"} if gpu else {}
    return ["quantity", *(heads.get(kind, kind) for kind in KINDS), "published"]


def title(record: Record) -> str:
    """What was measured, and how."""
    case = record.case
    batch = f", batch {record.batch_size}" if case.batch_size == "auto" else ""
    precision = f", {case.precision} autocast" if case.autocast else ""
    return f"{case} on {case.device}{batch}{precision}"


def cells(record: Record) -> list[list[str]]:
    """The table's rows: quantity, then its value in the column of its kind."""
    by_quantity: dict[str, dict[str, str]] = {}
    for row in summary.rows(record, peak_flops_per_s=peak(record)):
        by_quantity.setdefault(row.quantity, {})[row.kind] = row.text
    for quantity, text in published(record).items():
        by_quantity.setdefault(quantity, {})["published"] = text
    return [
        [quantity, *(kinds.get(kind, "") for kind in (*KINDS, "published"))]
        for quantity, kinds in by_quantity.items()
    ]


def published(record: Record) -> dict[str, str]:
    """What papers and official model zoos print for this variant at this clip, one a source."""
    case = record.case
    found: dict[str, dict[str, str]] = {}
    for row in model_zoo.published(case.model):
        views = f" over {row.num_views} views" if row.metric == "macs_per_video" else ""
        if row.metric in PRINTED and fits(row, case):
            texts = found.setdefault(PRINTED[row.metric], {})
            texts.setdefault(row.origin, f"{row.text}{views}")
    return {
        quantity: "; ".join(f"{text} ({origin})" for origin, text in texts.items())
        for quantity, texts in found.items()
    }


def fits(row: model_zoo.PublishedNumber, case: Case) -> bool:
    """Whether a number was printed for the case's clip: parameters are for any."""
    if case.mode == "training":
        return row.metric.endswith("params")
    sides = {case.clip.height_px, case.clip.width_px}
    same_clip = row.num_frames == case.clip.num_frames and sides == {row.size_px}
    return same_clip or row.metric.endswith("params")


def peak(record: Record) -> float | None:
    """Peak rate of the record's device in its precision, where it is known."""
    from vbench.measure import hardware

    if record.environment is None or not record.case.device.startswith("cuda"):
        return None
    gpu = hardware.find(record.environment.device_name)
    return gpu.peak_flops_per_s(record.case.precision) if gpu else None


def as_data(record: Record) -> dict[str, Any]:
    """The card as one JSON document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "record": msgspec.to_builtins(record),
        "summary": [
            {
                "quantity": row.quantity,
                "kind": row.kind,
                "source": row.source,
                "value": row.value,
                "unit": row.unit,
                "low": row.low,
                "high": row.high,
                "num_samples": row.num_samples,
            }
            for row in summary.rows(record, peak_flops_per_s=peak(record))
        ],
        "published": published(record),
    }
