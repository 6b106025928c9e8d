"""What `vbench eval` leaves in its folder, for those who read it and score nothing themselves."""

from pathlib import Path
from typing import Final

from msgspec import DecodeError, Struct, json

from vbench.core import stats
from vbench.core.errors import UsageError
from vbench.core.types import Record

EVALUATION_FILE: Final = "evaluation.json"
SUMMARY_FILE: Final = "summary.json"
SCHEMA_VERSION: Final = 1
CUSTOM_PROTOCOL: Final = "custom protocol"

_ENERGY: Final = ("energy_j", "cpu_energy_j")


class VideoCost(Struct, frozen=True, kw_only=True):
    """What the forward passes of one video take, all its views together; decoding is left out.

    What was not measured is None, never 0.

    Attributes:
        num_views: Clips times crops; the mean of the videos, where windows are slid over them.
        batch_views: Views in one forward pass as it was measured.
        num_threads: Of the CPU, where that ran the model.
        macs_per_video: Multiply-accumulates, counted.
        latency_per_video_s: Median of the passes, over their views, times the views of a video.
        latency_per_video_low_s: 95 % interval of it, with samples enough; `..._high_s` its end.
        energy_per_video_j: Of the whole GPU, or of all processor packages.
        energy_source: Which meter.
    """

    num_views: float
    batch_views: int
    precision: str
    device_name: str | None = None
    num_threads: int | None = None
    macs_per_video: float | None = None
    latency_per_video_s: float | None = None
    latency_per_video_low_s: float | None = None
    latency_per_video_high_s: float | None = None
    energy_per_video_j: float | None = None
    energy_source: str | None = None


def cost_of_video(record: Record, *, num_views: float) -> VideoCost:
    """The cost of a video by the record of one forward pass, whose clips are its views."""
    batch = record.batch_that_ran or 1
    share = num_views / batch
    latencies = record.values("latency_s")
    low, high = stats.median_interval(latencies) or (None, None)
    energies = next((taken for name in _ENERGY if (taken := record.values(name))), ())
    where = record.environment
    is_measured = bool(latencies) and where is not None
    return VideoCost(
        num_views=num_views,
        batch_views=batch,
        precision=record.case.precision,
        device_name=where.device_name if where is not None and is_measured else None,
        num_threads=where.num_threads
        if where is not None and record.case.device == "cpu"
        else None,
        macs_per_video=_scaled(record.values("macs"), share),
        latency_per_video_s=_scaled(latencies, share),
        latency_per_video_low_s=None if low is None else low * share,
        latency_per_video_high_s=None if high is None else high * share,
        energy_per_video_j=_scaled(energies, share),
        energy_source=record.notes.get("energy source") if energies else None,
    )


def _scaled(values: tuple[float, ...], share: float) -> float | None:
    return stats.median(values) * share if values else None


class Interval(Struct, frozen=True, kw_only=True):
    """Where the true value lies with a confidence of 95 %, and by which method."""

    low: float
    high: float
    method: str


class Score(Struct, frozen=True, kw_only=True):
    """One number on one set of videos: what `vbench.accuracy.metrics.Score` writes."""

    metric: str
    head: str
    videos: str
    num_videos: int
    value: float
    interval: Interval
    baseline: float | None = None
    condition: str = ""


class Views(Struct, frozen=True, kw_only=True):
    """Crops of a frame."""

    crop_px: int
    num_crops: int


class Protocol(Struct, frozen=True, kw_only=True):
    """How a model was tested; `name` is that of a published one, or `CUSTOM`."""

    name: str
    num_frames: int
    frame_stride: int
    num_clips: int
    spatial: Views

    @property
    def is_preset(self) -> bool:
        """Whether a result may stand beside published ones."""
        return self.name != CUSTOM_PROTOCOL

    @property
    def num_views(self) -> int:
        """Clips times crops."""
        return self.num_clips * self.spatial.num_crops


class Evaluated(Struct, frozen=True, kw_only=True):
    """What was evaluated."""

    model: str
    dataset: str
    split: str
    list_sha256: str
    subset: str
    subset_sha256: str
    protocol: Protocol
    checkpoint: str | None
    checkpoint_sha256: str | None
    precision: str
    device: str


class Printed(Struct, frozen=True, kw_only=True):
    """A printed top-1 of the same model under the same protocol."""

    printed: str
    source: str


class Summary(Struct, frozen=True, kw_only=True):
    """The part of a summary that a report shows; other fields are passed over."""

    schema_version: int
    eval_id: str
    spec: Evaluated
    num_videos: int
    num_decoded: int
    num_failed: int
    num_absent: int
    scores: tuple[Score, ...]
    published: tuple[Printed, ...]
    warnings: tuple[str, ...]
    family: str = ""
    evaluated_at_utc: str | None = None
    cost: VideoCost | None = None


def read_summary(run_dir: Path) -> Summary:
    """What an evaluation found.

    Raises:
        UsageError: There is none, or one of another schema.
    """
    path = run_dir / SUMMARY_FILE
    try:
        found = json.decode(path.read_bytes(), type=Summary)
    except FileNotFoundError:
        raise UsageError(
            f"no summary at: {path}", hint="`vbench eval` goes on where it stopped, and writes it"
        ) from None
    except (OSError, DecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    if found.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema {found.schema_version}, this vbench reads: {SCHEMA_VERSION}",
            hint="read it with the vbench that wrote it",
        )
    return found


class PublishedPoint(Struct, frozen=True, kw_only=True):
    """A printed accuracy with a printed cost.

    Attributes:
        head: Of a dataset with several; empty where there is one.
        top1: As a share.
        macs_per_video: Multiply-accumulates of all views, as printed or printed for one view.
        frame_stride: None where the source does not say.
        source: Paper or repository, and place in it.
    """

    model: str
    family: str
    dataset: str
    head: str
    top1: float
    macs_per_video: float
    num_frames: int
    size_px: int
    num_clips: int
    num_crops: int
    frame_stride: int | None
    source: str

    def is_like(self, spec: Evaluated) -> bool:
        """Whether it was taken on the same dataset by the same views."""
        ours, protocol = spec.dataset, spec.protocol
        return (
            self.dataset == ours
            and self.num_frames == protocol.num_frames
            and self.size_px == protocol.spatial.crop_px
            and self.num_clips == protocol.num_clips
            and self.num_crops == protocol.spatial.num_crops
            and self.frame_stride in (None, protocol.frame_stride)
        )
