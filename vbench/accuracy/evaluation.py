"""What an evaluation is: the request, its identity, and what stands beside its records.

EvalSpec + videos -> (worker) -> VideoRecord ... in videos.jsonl, EvalSpec in evaluation.json
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from vbench.accuracy.datasets import Video
from vbench.accuracy.protocols import Protocol
from vbench.accuracy.types import SCHEMA_VERSION, VideoRecord
from vbench.core import evaluations

VIDEOS_FILE: Final = "videos.jsonl"
EVALUATION_FILE: Final = evaluations.EVALUATION_FILE
LOG_FILE: Final = "log.txt"

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Positive = Annotated[int, Meta(ge=1)]


class EvalSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that may move an accuracy; two evaluations with the same id agree.

    Attributes:
        list_sha256: Of the whole list of the split.
        subset: How the subset was asked for, in words; ``all`` for the whole list.
        subset_sha256: Of its keys.
        num_listed: Videos of the whole list.
        num_listed_by_class: The same of each class of the one head that the dataset has, where the
            subset was drawn class by class; else empty.
        num_absent: Videos of the subset whose file is not there; they are not evaluated.
        heads: Number of classes of each head; empty for regression.
        columns: For each class of the dataset, the output of the model that stands for it.
        num_outputs: Of the model, each head.
        label_space: Of the checkpoint.
        checkpoint: Name of its file; None for random weights.
        reversals: For a head, the class that each class becomes if time is reversed, or -1.
        controls: Names of those that are run beside the clips as they are.
        keeps_probabilities: Records hold those of every class.
        batch_views: Views in one forward pass. Videos always share a batch with the same others,
            so that a resumed evaluation computes the same numbers.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    dataset: str
    split: str
    list_sha256: str
    subset: str
    subset_sha256: str
    num_listed: int
    num_listed_by_class: tuple[int, ...] = ()
    num_absent: int
    heads: dict[str, int]
    columns: dict[str, tuple[int, ...]]
    num_outputs: dict[str, int]
    label_space: str
    protocol: Protocol
    checkpoint: str | None
    checkpoint_sha256: str | None
    precision: Precision
    attention: str
    device: str
    batch_views: Positive
    seed: int = 0
    keeps_probabilities: bool = False
    reversals: dict[str, tuple[int, ...]] = {}
    controls: tuple[str, ...] = ()

    @property
    def eval_id(self) -> str:
        """Twelve hex digits of the content."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]

    @property
    def is_random_subset(self) -> bool:
        """Whether the videos were drawn at random from the list, and not named or all taken."""
        return self.subset.partition(",")[0] not in ("all", "listed")

    @property
    def videos_per_batch(self) -> int:
        """Whole videos whose views share a batch."""
        return max(self.batch_views // self.protocol.num_views, 1)

    @property
    def chunk_views(self) -> int:
        """Views of each forward pass; the last is filled up with zeros."""
        return min(self.batch_views, self.protocol.num_views * self.videos_per_batch)


class EvalRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the parent sends to the evaluating process.

    Attributes:
        root: Folder of the videos.
        checkpoint_path: File to load.
        batches: Videos that share a batch, in order; those without a record are sent back.
        num_workers: Decoding processes.
        timeout_s: Longest time that one video may take to decode.
    """

    spec: EvalSpec
    root: str
    checkpoint_path: str | None
    batches: tuple[tuple[Video, ...], ...]
    num_workers: Positive
    timeout_s: float


class Loaded(Struct, frozen=True, kw_only=True, tag=True):
    """The model is ready."""

    device_name: str
    torch: str
    notes: tuple[str, ...] = ()


class Batch(Struct, frozen=True, kw_only=True, tag=True):
    """One batch is done."""

    records: tuple[VideoRecord, ...]


class Failed(Struct, frozen=True, kw_only=True, tag=True):
    """Nothing more will come."""

    kind: Literal["usage", "unavailable", "error"]
    message: str
    hint: str | None = None


class Finished(Struct, frozen=True, kw_only=True, tag=True):
    """All batches are done."""


Message = Loaded | Batch | Failed | Finished
