"""Records made up for tests of the report: known numbers, no model run."""

import msgspec

from vbench import __version__
from vbench.core import store
from vbench.core.types import (
    SCHEMA_VERSION,
    Case,
    ClipSpec,
    Environment,
    Measurement,
    Record,
)

GPU = "NVIDIA H100 80GB HBM3"
MIB = 2**20
COUNTED = ("params", "params_bytes", "macs", "scan_macs", "fvcore_macs")


def kind_of(metric):
    if metric in COUNTED:
        return "counted"
    return "estimated" if metric.startswith("estimated") else "measured"


def environment(device_name=GPU, **changes):
    known = {"torch": "2.13.0", "python": "3.11.7", "git_commit": "0123456789ab"}
    return Environment(**{"vbench": __version__, "device_name": device_name, **known, **changes})


def record(model="tiny", num_frames=8, metrics=None, *, size=224, **changes):
    """A record of one case; `metrics` maps names to a value or to samples."""
    case_fields = {key: changes.pop(key) for key in list(changes) if key in Case.__struct_fields__}
    case = Case(
        model=model,
        clip=ClipSpec(num_frames=num_frames, height_px=size, width_px=size),
        **{"batch_size": 1, "attention": "none", "device": "cuda", **case_fields},
    )
    measurements = tuple(
        Measurement(
            metric=metric,
            kind=kind_of(metric),
            values=tuple(values) if isinstance(values, list | tuple) else (values,),
        )
        for metric, values in (metrics or {}).items()
    )
    return Record(
        **{
            "schema_version": SCHEMA_VERSION,
            "run_id": "run",
            "case_id": case.case_id,
            "started_at_utc": "2026-11-21T12:00:00Z",
            "duration_s": 1.0,
            "case": case,
            "status": "ok",
            "measurements": measurements,
            "environment": environment(),
            **changes,
        }
    )


def write_run(folder, records, *, spec='name = "run"\nmodels = ["tiny"]\n', tail=b""):
    folder.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in records)
    (folder / store.RECORDS_FILE).write_bytes(lines + tail)
    if spec is not None:
        (folder / "spec.toml").write_text(spec)
    return folder


# Peak activation memory a clip, MiB, and throughput bounds, bf16 autocast inference.
FRAMES = (8, 16, 32, 64)
FIGURE1_MIB = {
    ("timesformer_tiny_joint", "eager"): (73, 288, 1140, 4533),
    ("timesformer_tiny_joint", "sdpa"): (6.3, 12.6, 25.2, 50.4),
    ("timesformer_tiny", "eager"): (11.5, 24, 56, 134),
    ("timesformer_tiny", "sdpa"): (9.5, 19, 39, 78),
    ("videomamba_tiny", "none"): (14, 28, 56, 112),
}
FIGURE1_CLIPS_PER_S = {
    ("timesformer_tiny_joint", "eager"): (1074, 285, 74, 19),
    ("timesformer_tiny_joint", "sdpa"): (6527, 2495, 848, 258),
    ("timesformer_tiny", "eager"): (3400, 1650, 780, 360),
    ("timesformer_tiny", "sdpa"): (5200, 2600, 1290, 640),
    ("videomamba_tiny", "none"): (2270, 1135, 568, 284),
}


def figure1_records(*, batch_size=128, frames=FRAMES, device="meta", **changes):
    """Estimates of the models of VideoMamba's Figure 1."""
    records = []
    for (model, attention), memory in FIGURE1_MIB.items():
        rates = FIGURE1_CLIPS_PER_S[model, attention]
        for t, mib, rate in zip(FRAMES, memory, rates, strict=True):
            if t not in frames:
                continue
            records.append(
                record(
                    model,
                    t,
                    {
                        "estimated_activation_bytes": mib * MIB * batch_size,
                        "estimated_peak_bytes": (mib * batch_size + 700) * MIB,
                        "estimated_latency_s": batch_size / rate,
                        "params": 7e6,
                        "macs": 1.3e9 * t * batch_size,
                    },
                    attention=attention,
                    batch_size=batch_size,
                    precision="bf16",
                    autocast=True,
                    device=device,
                    gpu=GPU,
                    environment=environment("no device (estimated)"),
                    **changes,
                )
            )
    return records
