"""Records made up for tests of what reads them."""

from typing import Any

from vbench.core.types import SCHEMA_VERSION, Case, ClipSpec, Environment, Measurement, Record


def a_case(*, model: str = "videomamba_tiny", num_frames: int = 8, **fields: Any) -> Case:
    """A point, small unless told otherwise."""
    fields = {"batch_size": 1} | fields
    clip = ClipSpec(num_frames=num_frames, height_px=112, width_px=112)
    return Case(model=model, clip=clip, **fields)


def an_environment(**fields: Any) -> Environment:
    """A made-up machine."""
    known = {"vbench": "0.1.0", "torch": "2.13.0", "python": "3.11.7", "device_name": "a CPU"}
    return Environment(**known | fields)


def a_record(
    *,
    case: Case | None = None,
    num_frames: int = 8,
    values: dict[str, tuple[float, ...]] | None = None,
    estimated: dict[str, tuple[float, ...]] | None = None,
    counted: dict[str, tuple[float, ...]] | None = None,
    **fields: Any,
) -> Record:
    """A finished case with these samples by kind."""
    case = case or a_case(num_frames=num_frames)
    kinds = {"measured": values, "estimated": estimated, "counted": counted}
    measurements = tuple(
        Measurement(metric=metric, kind=kind, values=taken)  # type: ignore[arg-type]
        for kind, metrics in kinds.items()
        for metric, taken in (metrics or {}).items()
    )
    known: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "run_id": "0123456789ab",
        "case_id": case.case_id,
        "started_at_utc": "2026-11-21T12:00:00+00:00",
        "duration_s": 1.5,
        "case": case,
        "status": "ok",
        "measurements": measurements,
        "environment": an_environment(),
        "batch_size": case.batch_size if isinstance(case.batch_size, int) else None,
    }
    return Record(**known | fields)
