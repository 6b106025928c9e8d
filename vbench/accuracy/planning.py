"""What an evaluation will do: its videos, protocol and classes, settled before it runs."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

import model_zoo
from vbench.accuracy import datasets, label_space, protocols, subsets
from vbench.accuracy.container import require_av
from vbench.accuracy.controls import CONTROLS
from vbench.accuracy.datasets import DATASETS, Dataset, Video, files
from vbench.accuracy.decode import VIDEO_ENDINGS
from vbench.accuracy.evaluation import EvalSpec, Precision
from vbench.accuracy.fit.metadata import heads_of
from vbench.accuracy.protocols import Protocol, Use
from vbench.accuracy.subsets import SubsetSpec
from vbench.accuracy.windows import Windows, cut, parts
from vbench.core.errors import UsageError

VALUE: Final = "value"
DEFAULT_BATCH_VIEWS: Final = {"cpu": 4, "cuda": 16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a user asks for; None leaves it to the model, the protocol or the dataset.

    Attributes:
        root: Folder of the videos; None for the default place of a dataset that vbench generates.
        device: ``cpu`` or ``cuda:<i>``.
        checkpoint: None for random weights.
        class_names: File that names the model's outputs, one a line.
        replace_missing: Choose the subset among the videos that are there.
    """

    model: str
    dataset: str
    root: Path | None
    device: str
    checkpoint: Path | None
    annotations: Path | None = None
    split: str | None = None
    subset: SubsetSpec = field(default_factory=SubsetSpec)
    replace_missing: bool = False
    protocol: str | None = None
    num_frames: int | None = None
    size_px: int | None = None
    label_space: str | None = None
    class_names: Path | None = None
    precision: Precision | None = None
    attention: str = "sdpa"
    batch_views: int | None = None
    with_controls: bool | None = None
    keeps_probabilities: bool = False

    @property
    def folder(self) -> Path:
        """Where the videos lie.

        Raises:
            UsageError: The user has to say.
        """
        if self.root is not None:
            return self.root
        made_here = DATASETS[self.dataset].made_here
        if made_here is None:
            raise UsageError(
                f"{self.dataset} is read from your own copy",
                hint="give its folder with --root DIR",
            )
        return made_here.default_root()

    @property
    def controls(self) -> tuple[str, ...]:
        """Those to be run: all if asked for, else those that the dataset is made for."""
        made_here = DATASETS[self.dataset].made_here
        if self.with_controls is None:
            return made_here.controls if made_here else ()
        return CONTROLS if self.with_controls else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What will be evaluated.

    Attributes:
        videos: Of the subset, in order, those whose file is there.
        absent: Those whose file is not.
    """

    spec: EvalSpec
    asked: Asked
    dataset: Dataset
    videos: tuple[Video, ...]
    absent: tuple[Video, ...]

    @property
    def default_name(self) -> str:
        """Of the run folder."""
        plain = self.spec.model.replace(":", "-").replace("/", "-")
        return f"eval-{self.spec.dataset}-{plain}-{self.spec.eval_id}"

    @property
    def views_per_video(self) -> float:
        """Clips times crops, of all windows: a mean, for longer videos have more."""
        num_parts = sum(len(parts(video)) for video in self.videos)
        return self.spec.protocol.num_views * num_parts / len(self.videos)

    @property
    def batches(self) -> list[tuple[Video, ...]]:
        """Videos that share a batch: always the same ones."""
        size = self.spec.videos_per_batch
        return [self.videos[i : i + size] for i in range(0, len(self.videos), size)]


def plan(asked: Asked) -> Plan:
    """Read the dataset and settle everything that may move the result.

    Raises:
        UsageError: Something of it is wrong or not there.
        UnavailableError: Videos are to be decoded, and PyAV is not installed.
    """
    entry = entry_of(asked.model)
    dataset = datasets.load(
        asked.dataset, root=asked.folder, annotations=asked.annotations, split=asked.split
    )
    protocol = _protocol(asked, entry)
    space = _label_space(asked, entry)
    columns, outputs = _columns(asked, dataset, space)
    listed = dataset.videos
    if asked.replace_missing:
        listed = tuple(video for video in listed if (asked.folder / video.path).exists())
    chosen = subsets.choose(listed, asked.subset)
    root = asked.folder
    absent = tuple(video for video in chosen if not (root / video.path).exists())
    present = tuple(video for video in chosen if (root / video.path).exists())
    if not present:
        raise UsageError(
            f"none of {len(chosen)} videos is in {root}, e.g.: {chosen[0].path}",
            hint=f"expected there: {DATASETS[asked.dataset].layout}",
        )
    if any(Path(video.path).suffix.lower() in VIDEO_ENDINGS for video in present):
        require_av()
    if isinstance(protocol.windows, Windows):
        present = tuple(cut(video, protocol.windows, root) for video in present)
    kind = asked.device.partition(":")[0]
    spec = EvalSpec(
        model=entry.name,
        dataset=dataset.name,
        split=dataset.split,
        list_sha256=dataset.list_sha256,
        subset=_subset_in_words(asked),
        subset_sha256=subsets.sha256(chosen),
        num_listed=len(dataset.videos),
        num_listed_by_class=_by_class(dataset) if asked.subset.is_drawn else (),
        num_absent=len(absent),
        heads={head: len(names) for head, names in dataset.heads.items()},
        columns=columns,
        num_outputs=outputs,
        label_space=space,
        protocol=protocol,
        checkpoint=asked.checkpoint.name if asked.checkpoint else None,
        checkpoint_sha256=_sha256(asked.checkpoint) if asked.checkpoint else None,
        precision=asked.precision or _precision(protocol, kind),
        attention=asked.attention,
        device=asked.device,
        batch_views=asked.batch_views or DEFAULT_BATCH_VIEWS[kind],
        seed=asked.subset.seed,
        reversals=dict(dataset.reversals),
        controls=asked.controls,
        keeps_probabilities=asked.keeps_probabilities,
    )
    return Plan(spec=spec, asked=asked, dataset=dataset, videos=present, absent=absent)


def entry_of(name: str) -> model_zoo.ModelEntry:
    """The zoo's entry of a model.

    Raises:
        UsageError: There is none of that name.
    """
    try:
        return model_zoo.model_entry(name)
    except model_zoo.ZooError as error:
        raise UsageError(str(error), hint=error.hint) from None


def _protocol(asked: Asked, entry: model_zoo.ModelEntry) -> Protocol:
    frames, height, _ = entry.clip
    use = Use(
        model=entry.name,
        family=entry.family,
        dataset=asked.dataset,
        num_frames=asked.num_frames or frames,
        size_px=asked.size_px or height,
    )
    if asked.protocol:
        return protocols.named(asked.protocol, use)
    made_here = DATASETS[asked.dataset].made_here
    return made_here.protocol(use.num_frames, use.size_px) if made_here else protocols.find(use)


def _precision(protocol: Protocol, kind: str) -> Precision:
    """The authors' on a GPU, single precision on a CPU."""
    published = protocol.published_precision
    return msgspec.convert(published, Precision) if published and kind == "cuda" else "fp32"


def _label_space(asked: Asked, entry: model_zoo.ModelEntry) -> str:
    """Whose classes the checkpoint's outputs are: as said, as released, or the user's own."""
    if asked.label_space or asked.checkpoint is None:
        return asked.label_space or label_space.OWN
    from model_zoo.weights import released_checkpoints

    for released in released_checkpoints(entry.name):
        if released.file == asked.checkpoint.name:
            return released.label_space
    holds = label_space.holds(entry.label_space, asked.dataset)
    return entry.label_space if holds else label_space.OWN


def _columns(
    asked: Asked, dataset: Dataset, space: str
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Which output stands for each class, and how many outputs each head has."""
    if not dataset.heads:
        return {}, {VALUE: 1}
    if asked.class_names is not None:
        outputs = files.lines(asked.class_names)
        ((head, classes),) = _one_head(dataset)
        return {head: tuple(label_space.columns_by_name(outputs, classes))}, {head: len(outputs)}
    _refuse_incomplete(dataset, space)
    columns = {
        head: tuple(label_space.columns(space, dataset.name, classes))
        for head, classes in dataset.heads.items()
    }
    return columns, {
        head: label_space.num_outputs(space, classes) for head, classes in dataset.heads.items()
    }


def _one_head(dataset: Dataset) -> list[tuple[str, tuple[str, ...]]]:
    if len(dataset.heads) != 1:
        raise UsageError(f"--class-names is for one head, {dataset.name} has {len(dataset.heads)}")
    return list(dataset.heads.items())


def _refuse_incomplete(dataset: Dataset, space: str) -> None:
    """A list that lacks classes would shift the numbers of the others.

    Raises:
        UsageError: The checkpoint has the dataset's classes, and the list has fewer.
    """
    known = DATASETS[dataset.name].classes_of(dataset.split)
    for head, classes in dataset.heads.items():
        if space != label_space.OWN and known and len(classes) != known[head]:
            raise UsageError(
                f"{dataset.name} has {known[head]} classes, these annotations name: {len(classes)}",
                hint="put all class names beside them as classes.txt, or use --class-names FILE",
            )


def refuse_other_heads(asked: Asked) -> None:
    """Say that weights are of another list of a generated dataset, with other classes.

    Raises:
        UsageError: So they are.
    """
    entry = DATASETS[asked.dataset]
    split = asked.split or entry.default_split
    if entry.made_here is None or asked.checkpoint is None or split not in entry.splits:
        return
    wanted, found = entry.classes_of(split), heads_of(asked.checkpoint)
    if found not in (None, wanted):
        raise UsageError(
            f"{asked.checkpoint.name} tells apart {_in_words(found)}, "
            f"the list {split} has: {_in_words(wanted)}",
            hint=f"weights for it: vbench train {asked.model} --split LIST, to train on",
        )


def _in_words(heads: Mapping[str, int] | None) -> str:
    return ", ".join(f"{count} {head}s" for head, count in (heads or {}).items())


def _by_class(dataset: Dataset) -> tuple[int, ...]:
    """Videos of each class on the list; empty for several heads, and for none."""
    if len(dataset.heads) != 1:
        return ()
    ((head, classes),) = dataset.heads.items()
    counts = Counter(video.labels[head] for video in dataset.videos)
    return tuple(counts[number] for number in range(len(classes)))


def _subset_in_words(asked: Asked) -> str:
    spec = asked.subset
    words = {
        "all": spec.count is None and spec.per_class is None and spec.keys is None,
        f"{spec.count}": spec.count is not None,
        f"{spec.per_class} a class": spec.per_class is not None,
        "listed": spec.keys is not None,
    }
    chosen = next(word for word, is_meant in words.items() if is_meant)
    return f"{chosen}, of those present" if asked.replace_missing else chosen


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read the checkpoint {path}: {error.strerror}") from None
