"""How a model is tested: which frames, which crops, which pixels, which average. Data, by preset.

A preset is what a family's authors did on a dataset (``protocols.toml``). Anything else is a custom
protocol: it is labelled so, and its accuracy is never set beside a published one.
"""

import functools
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from vbench.accuracy.sampling import Sampling
from vbench.accuracy.transforms import Spatial, middle_crop
from vbench.accuracy.windows import Windows
from vbench.core.errors import UsageError

Aggregate = Literal["probability_mean", "logit_sum"]
Positive = Annotated[int, Meta(ge=1)]
CUSTOM: Final = "custom protocol"


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """What a protocol is wanted for: a model, at an input, on a dataset."""

    model: str
    family: str
    dataset: str
    num_frames: int
    size_px: int


class Preset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published protocol; the keys are explained in ``protocols.toml``.

    Attributes:
        variants: Shell patterns of names; empty for the whole family.
        crop_px: Side of the crop where the authors test at a larger one than they train at; sizes
            in `size_px` then mean the model's own.
        windows: Parts of a long video that are sampled one by one.
        is_alternative: Taken only if named, because another is published for the same input.
    """

    name: str
    family: str
    datasets: tuple[str, ...]
    rule: str
    num_frames: tuple[Positive, ...]
    size_px: tuple[Positive, ...]
    spatial: str
    aggregate: Aggregate
    precision: Literal["fp32", "bf16", "fp16"]
    source: str
    variants: tuple[str, ...] = ()
    frame_stride: Positive = 1
    num_clips: Positive = 1
    num_crops: Literal[1, 3, 10] = 1
    short_side_px: Positive | None = None
    crop_px: Positive | None = None
    resample_fps: Positive | None = None
    windows: Windows | None = None
    channel_order: Literal["rgb", "bgr"] = "rgb"
    is_alternative: bool = False
    note: str = ""

    def fits(self, use: Use) -> bool:
        """Whether it was published for this."""
        return (
            use.family == self.family
            and use.dataset in self.datasets
            and (not self.variants or any(fnmatchcase(use.model, v) for v in self.variants))
            and use.num_frames in self.num_frames
            and use.size_px in (*self.size_px, self.crop_px)
        )


class Protocol(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything between a video and a score, resolved.

    Attributes:
        name: Of the preset, or `CUSTOM`.
        resample_fps: Frame rate that videos are converted to first.
        published_precision: That of the authors; what was used is in the evaluation's record.
        source: Official files; empty for a custom protocol.
        windows: Parts of a video that are sampled one by one. Unset, not None, where there are
            none, so that evaluations without windows keep their identity.
    """

    name: str
    rule: str
    num_frames: Positive
    frame_stride: Positive
    num_clips: Positive
    spatial: Spatial
    aggregate: Aggregate
    resample_fps: Positive | None = None
    published_precision: str | None = None
    source: str = ""
    windows: Windows | UnsetType = UNSET

    @property
    def is_preset(self) -> bool:
        """Whether a result may stand beside published ones."""
        return self.name != CUSTOM

    @property
    def num_views(self) -> int:
        """Clips times crops; of each window, where there are windows."""
        return self.num_clips * self.spatial.num_crops

    @property
    def middle_view(self) -> int:
        """The view of the middle clip and the central crop."""
        return self.num_clips // 2 * self.spatial.num_crops + middle_crop(self.spatial)

    @property
    def sampling(self) -> Sampling:
        """Its rule for frames."""
        return Sampling(
            rule=self.rule,
            num_frames=self.num_frames,
            frame_stride=self.frame_stride,
            num_clips=self.num_clips,
            resample_fps=self.resample_fps,
        )

    def __str__(self) -> str:
        views = f"{self.num_clips} clips x {self.spatial.num_crops} crops"
        words = f"{self.name}: {self.num_frames} frames, {views} of {self.spatial.crop_px} px"
        return f"{words}, {self.windows}" if isinstance(self.windows, Windows) else words


@functools.cache
def _data() -> tuple[dict[str, dict[str, Any]], tuple[Preset, ...]]:
    text = (resources.files("vbench.accuracy") / "protocols.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    return table["spatial"], msgspec.convert(table["protocol"], tuple[Preset, ...])


def presets() -> tuple[Preset, ...]:
    """Every published protocol."""
    return _data()[1]


def find(use: Use) -> Protocol:
    """The published protocol, or the custom one where none is known."""
    for preset in presets():
        if preset.fits(use) and not preset.is_alternative:
            return resolve(preset, num_frames=use.num_frames, size_px=use.size_px)
    return custom(num_frames=use.num_frames, size_px=use.size_px)


def named(name: str, use: Use) -> Protocol:
    """The protocol of that name; used on what it was not published for, it is a custom one.

    Raises:
        UsageError: There is none.
    """
    preset = next((preset for preset in presets() if preset.name == name), None)
    if preset is None:
        known = ", ".join(preset.name for preset in presets())
        raise UsageError(f"unknown protocol: {name}", hint=f"known: {known}")
    resolved = resolve(preset, num_frames=use.num_frames, size_px=use.size_px)
    if preset.fits(use):
        return resolved
    return msgspec.structs.replace(resolved, name=CUSTOM, source=f"after {name}")


def published_sizes(protocol: Protocol) -> set[int | None]:
    """Sides that published results of this protocol may be listed with, None among them."""
    crop_px = protocol.spatial.crop_px
    preset = next((preset for preset in presets() if preset.name == protocol.name), None)
    trained = preset.size_px if preset is not None and preset.crop_px else ()
    return {None, crop_px, *trained}


def resolve(preset: Preset, *, num_frames: int, size_px: int) -> Protocol:
    """A preset at one frame count and size."""
    crop_px = preset.crop_px or size_px
    spatial = _data()[0][preset.spatial] | {
        "short_side_px": preset.short_side_px or crop_px,
        "crop_px": crop_px,
        "num_crops": preset.num_crops,
        "channel_order": preset.channel_order,
    }
    return Protocol(
        name=preset.name,
        rule=preset.rule,
        num_frames=num_frames,
        frame_stride=preset.frame_stride,
        num_clips=preset.num_clips,
        spatial=msgspec.convert(spatial, Spatial),
        aggregate=preset.aggregate,
        resample_fps=preset.resample_fps,
        published_precision=preset.precision,
        source=preset.source,
        windows=preset.windows or UNSET,
    )


def custom(*, num_frames: int, size_px: int) -> Protocol:
    """One view: the middle of each of T segments, resized as VideoMAE does, the centre cut out."""
    return Protocol(
        name=CUSTOM,
        rule="segments_middle",
        num_frames=num_frames,
        frame_stride=1,
        num_clips=1,
        spatial=Spatial(short_side_px=size_px, crop_px=size_px),
        aggregate="probability_mean",
    )
