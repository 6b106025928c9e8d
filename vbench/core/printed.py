"""A published number beside the case that counts the same: what an audit asks of each row."""

from msgspec import Struct

from vbench.core.types import Case


class Printed(Struct, frozen=True, kw_only=True):
    """One operation or parameter count as a source prints it.

    Attributes:
        name: What the source calls the model; `case` says which of ours that is.
        metric: ``macs`` of a clip, ``macs_per_video`` of all its views, ``params`` or
            ``trainable_params``.
        value: In base units.
        rounding: How far the number may be from what was rounded to it.
        text: Digits and prefix as printed.
        word: What the source calls the quantity, such as GFLOPs; empty for parameters.
        dataset: Whose classes the head has.
        frames: As printed; None where the source does not say, and the case takes the model's own.
        size_px: Likewise.
        views: Clips and crops of a video, as printed.
    """

    name: str
    metric: str
    value: float
    rounding: float
    text: str
    word: str
    dataset: str
    frames: int | None
    size_px: int | None
    views: tuple[int, ...] = ()
    source: str
    location: str
    case: Case

    @property
    def num_views(self) -> int:
        """Views of a video; 1 where the source does not say."""
        clips, crops = self.views or (1, 1)
        return clips * crops
