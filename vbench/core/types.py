"""The things that flow through vbench.

    BenchSpec -> Case -> (worker) -> Outcome -> Record, made of Measurements in an Environment

All are frozen and hold plain values, so each can be hashed, compared, and written as JSON.
A name that carries a quantity ends in its unit: `_s` seconds, `_bytes`, `_j` joules, `_px`.
Units are SI base units; prefixes appear only when a number is rendered. What is unknown is None
or left out, never 0, NaN or infinity.

Schema history: 1 (vbench 0.1.0).
"""

import hashlib
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, json

from vbench.core.metrics import Kind

SCHEMA_VERSION: Final = 1

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Mode = Literal["inference", "training"]
Attention = Literal["eager", "sdpa", "flash", "efficient", "cudnn", "math"]
Isolation = Literal["fork", "fresh"]
Status = Literal["ok", "oom", "timeout", "error", "unsupported"]
Positive = Annotated[int, Meta(ge=1)]
# Not tuple[Positive, Positive]: msgspec 0.22 corrupts memory over a union with a fixed tuple.
Pair = Annotated[tuple[Positive, ...], Meta(min_length=2, max_length=2)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class ClipSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shape of one model input: RGB frames as (3, num_frames, height_px, width_px)."""

    num_frames: Positive
    height_px: Positive = 224
    width_px: Positive = 224

    def __str__(self) -> str:
        side = (
            f"{self.height_px}"
            if self.height_px == self.width_px
            else (f"{self.height_px}x{self.width_px}")
        )
        return f"{self.num_frames}x{side}"


class TimingSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a timed loop starts to count and when it may stop.

    Attributes:
        warmup_iters: Least untimed calls; more follow until the medians of the last five and of
            the five before agree within 1 %, at most `max_warmup_iters` or `max_warmup_s`.
        min_iters: Least timed calls.
        min_duration_s: Least time spent in timed calls.
        max_duration_s: Stop here whatever the noise.
        half_width_percent: Stop once the 95 % interval of the median is this tight.
    """

    warmup_iters: Positive = 3
    max_warmup_iters: Positive = 50
    max_warmup_s: PositiveSeconds = 30.0
    min_iters: Positive = 10
    min_duration_s: Annotated[float, Meta(ge=0)] = 1.0
    max_duration_s: PositiveSeconds = 15.0
    half_width_percent: PositiveSeconds = 1.0


class BenchSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The grid the user asked for, read from a TOML file or from flags.

    Attributes:
        models: Names, or shell patterns of names.
        num_frames: Frame counts; empty for each model's own.
        resolutions_px: Sides, or [height, width] pairs; empty for each model's own.
        batch_sizes: Clips a batch, or ``auto`` for the largest that fits.
        autocast: Keep weights in fp32 and let ``torch.autocast`` choose by operator, as the papers'
            mixed precision does; else weights and clips are cast to the precision.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:<i>``, or ``meta`` to estimate without running.
        gpu: Named GPU whose roofline ``meta`` uses, from ``measure/hardware.csv``.
        probes: What is measured; empty for all that fit the device.
        cudagraph: Replay the forward pass as one CUDA graph (inference on CUDA).
        repeats: Processes a point is measured in.
        prune: Once a case runs out of memory, take the same with more frames or pixels as such too.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    num_frames: tuple[Positive, ...] = ()
    resolutions_px: tuple[Positive | Pair, ...] = ()
    batch_sizes: Annotated[tuple[Positive, ...], Meta(min_length=1)] | Literal["auto"] = (1,)
    precisions: Annotated[tuple[Precision, ...], Meta(min_length=1)] = ("fp32",)
    autocast: bool = False
    modes: Annotated[tuple[Mode, ...], Meta(min_length=1)] = ("inference",)
    attentions: Annotated[tuple[Attention, ...], Meta(min_length=1)] = ("sdpa",)
    compile: Annotated[tuple[bool, ...], Meta(min_length=1)] = (False,)
    cudagraph: bool = False
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|meta|cuda(:\d+)?)$")] = "auto"
    gpu: str | None = None
    probes: tuple[str, ...] = ()
    timing: TimingSpec = TimingSpec()
    repeats: Positive = 1
    seed: int = 0
    timeout_s: PositiveSeconds = 600.0
    isolation: Isolation = "fork"
    prune: bool = True
    title: str = ""
    plots: tuple[str, ...] = ()


class Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One point of the grid: what one worker process measures.

    Attributes:
        attention: Backend, or ``none`` for an architecture without attention.
        repeat: Which of the processes that measure the same point.
    """

    model: str
    clip: ClipSpec
    batch_size: Positive | Literal["auto"]
    precision: Precision = "fp32"
    autocast: bool = False
    mode: Mode = "inference"
    attention: Attention | Literal["none"] = "sdpa"
    compile: bool = False
    cudagraph: bool = False
    device: str = "cpu"
    gpu: str | None = None
    probes: tuple[str, ...] = ()
    timing: TimingSpec = TimingSpec()
    seed: int = 0
    repeat: int = 0

    @property
    def case_id(self) -> str:
        """Twelve hex digits of the content, the same on every machine and in every run."""
        return hashlib.sha256(json.encode(self, order="sorted")).hexdigest()[:12]

    def __str__(self) -> str:
        batch = "b-auto" if self.batch_size == "auto" else f"b{self.batch_size}"
        parts = [self.model, str(self.clip), batch, self.precision, self.attention]
        parts += ["training"] if self.mode == "training" else []
        parts += ["compiled"] if self.compile else []
        return " ".join(part for part in parts if part != "none")


class Measurement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All samples of one metric, in the order taken. Statistics are computed on reading."""

    metric: str
    kind: Kind
    values: tuple[float, ...]


class Environment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a record was taken: everything that may move a number."""

    vbench: str
    torch: str
    python: str
    device_name: str
    hostname: str | None = None
    platform: str | None = None
    git_commit: str | None = None
    cpu_model: str | None = None
    num_threads: int | None = None
    load_average: float | None = None
    triton: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    driver: str | None = None
    gpu_uuid: str | None = None
    gpu_memory_bytes: int | None = None
    gpu_power_limit_w: float | None = None
    allow_tf32: bool | None = None
    cudnn_benchmark: bool | None = None
    foreign_processes: int | None = None


class Outcome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker hands back.

    Attributes:
        measurements: Whatever was finished, also when the status is not ``ok``.
        batch_size: Clips a batch that ran, where the case said ``auto``.
        notes: What cannot be a number, by topic: the kernels that ran, what a counter skipped.
        error: What happened and, where it is known, in which phase.
    """

    status: Status
    measurements: tuple[Measurement, ...] = ()
    environment: Environment | None = None
    batch_size: int | None = None
    notes: dict[str, str] = {}
    error: str | None = None


class Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case, measured once: a line of ``records.jsonl``, complete on its own."""

    schema_version: int
    run_id: str
    case_id: str
    started_at_utc: str
    duration_s: float
    case: Case
    status: Status
    measurements: tuple[Measurement, ...] = ()
    environment: Environment | None = None
    batch_size: int | None = None
    notes: dict[str, str] = {}
    error: str | None = None

    def values(self, metric: str) -> tuple[float, ...]:
        """Samples of `metric`, none if it was not taken."""
        return next((m.values for m in self.measurements if m.metric == metric), ())

    @property
    def batch_that_ran(self) -> int | None:
        """Clips a batch; None where the largest was asked for and none ran."""
        asked = self.case.batch_size
        return self.batch_size or (None if asked == "auto" else asked)
