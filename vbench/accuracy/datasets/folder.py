"""One's own videos: class folders, or a CSV of paths and labels.

``ROOT/CLASS/VIDEO`` with videos, images or folders of frames; or ``labels.csv`` with the header
``path,label``, or ``path`` and a column for each head, e.g. ``path,verb,noun``. A column ``group``
names what videos share that depend on each other. Classes are in the order of their names, or of
the lines of ``classes.txt`` (one head only).
"""

from pathlib import Path

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.accuracy.decode import VIDEO_ENDINGS
from vbench.accuracy.images import IMAGE_ENDINGS
from vbench.core.errors import UsageError


@register_dataset(
    "folder",
    title="Your own videos",
    layout="CLASS/VIDEO, or labels.csv (path,label) and the videos",
    splits=("val", "train", "test", "all"),
    licence="yours",
)
def read(copy: Copy) -> Dataset:
    """Read class folders or a CSV; a folder of the split's name is looked into first."""
    path = files.find(copy, f"{copy.split}.csv", "labels.csv")
    if path is not None:
        return _from_table(copy, path)
    folder = copy.root / copy.split if (copy.root / copy.split).is_dir() else copy.root
    endings = VIDEO_ENDINGS | IMAGE_ENDINGS
    classes, listed = files.class_folders(folder, VIDEO_ENDINGS)
    if not listed:
        classes, listed = files.class_folders(folder, endings)
    prefix = "" if folder == copy.root else f"{copy.split}/"
    order = _order(copy, set(classes))
    return Dataset(
        name="folder",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: tuple(order)},
        videos=tuple(
            Video(
                key=place,
                path=f"{prefix}{place}",
                labels={ONE_HEAD: order.index(classes[label])},
            )
            for place, label in listed
        ),
    )


def _from_table(copy: Copy, path: Path) -> Dataset:
    rows = files.table(path, "path")
    columns = [name for name in (rows[0] if rows else ()) if name not in ("path", "group")]
    if not columns:
        raise UsageError(f"{path} has no column of labels", hint="the header is path,label")
    named = {ONE_HEAD if name == "label" else name: name for name in columns}
    if len(named) > 1 and set(named) != {"verb", "noun"}:
        raise UsageError(
            f"{path} has the label columns {', '.join(columns)}",
            hint="one column of labels, or verb and noun",
        )
    heads = {head: sorted({row[column] for row in rows}) for head, column in named.items()}
    if set(heads) == {ONE_HEAD}:
        heads[ONE_HEAD] = _order(copy, set(heads[ONE_HEAD]))
    numbers = {head: files.index_of(names) for head, names in heads.items()}
    return Dataset(
        name="folder",
        split=copy.split,
        root=copy.root,
        heads={head: tuple(names) for head, names in heads.items()},
        videos=tuple(
            Video(
                key=row["path"],
                path=row["path"],
                labels={head: numbers[head][row[column]] for head, column in named.items()},
                group=row.get("group") or None,
            )
            for row in rows
        ),
    )


def _order(copy: Copy, classes: set[str]) -> list[str]:
    """Of the classes: that of ``classes.txt``, which may name more, or of their names."""
    path = files.find(Copy(root=copy.root), "classes.txt")
    if path is None:
        return sorted(classes)
    order = files.lines(path)
    unknown = classes - set(order)
    if unknown:
        raise UsageError(f"{path} does not name the class: {min(unknown)}")
    return order
