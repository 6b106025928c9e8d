"""What an evaluation keeps of each video. All statistics are computed from these records."""

from typing import Final, Literal

from msgspec import Struct

SCHEMA_VERSION: Final = 1
NUM_TOP: Final = 5
ACTION: Final = "action"  # the head that a verb and a noun head make together
NOUN_BASE: Final = 1000  # action = verb * 1000 + noun, as EPIC-KITCHENS-100 numbers them

Status = Literal["ok", "unreadable", "error"]


class HeadScore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one head says of one video, its views averaged.

    Attributes:
        top: Best classes, best first, at most five.
        label_rank: Place of the label among all classes, from 1.
        label_probability: Averaged probability of the label.
        margin: Score of the best class less that of the second.
        view_top: Best class of each view.
        reversal_probability: Averaged probability of the class that the label becomes if the video
            is played backwards, where it becomes another.
    """

    top: tuple[int, ...]
    label_rank: int
    label_probability: float
    margin: float
    view_top: tuple[int, ...]
    reversal_probability: float | None = None


class VideoRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One video, evaluated once: a line of ``videos.jsonl``.

    Attributes:
        key: Of the video in its dataset.
        labels: Class of each head, in the dataset's order.
        controls: What the heads say once time is taken from the clips, by the name of the control;
            see `vbench.accuracy.controls`.
        group: Videos of one group depend on each other: segments of a video, clips of a film.
        slices: Named parts of the dataset that the video belongs to.
        target: True value, for a regression task; `value` is the model's.
        log_probabilities: Of every class of each head, where they were asked for: what a result
            file of a challenge holds.
        num_frames: Decodable frames.
        damage: Signs that a video which was read is not whole.
        decode_s: Reading, resizing and cropping, in a worker process.
        wait_s: The model's process had nothing to do but wait for this video.
        model_s: Forward passes, this video's share of its batch.
    """

    schema_version: int
    key: str
    status: Status
    labels: dict[str, int] = {}
    heads: dict[str, HeadScore] = {}
    controls: dict[str, dict[str, HeadScore]] = {}
    group: str | None = None
    slices: tuple[str, ...] = ()
    target: float | None = None
    value: float | None = None
    log_probabilities: dict[str, tuple[float, ...]] = {}
    num_frames: int | None = None
    damage: str | None = None
    decode_s: float | None = None
    wait_s: float | None = None
    model_s: float | None = None
    error: str | None = None
