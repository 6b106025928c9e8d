"""Finding and reading the files of a dataset's copy."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vbench.accuracy.datasets import Copy
from vbench.accuracy.decode import VIDEO_ENDINGS
from vbench.accuracy.images import IMAGE_ENDINGS
from vbench.core.errors import UsageError

SUBFOLDERS = (".", "annotations", "labels", "annotation")


def find(copy: Copy, *names: str) -> Path | None:
    """The first of these files that the annotations, or the usual folders below the root, hold."""
    if copy.annotations is not None and copy.annotations.is_file():
        return copy.annotations
    base = copy.annotations or copy.root
    for folder in SUBFOLDERS:
        for name in names:
            for path in sorted((base / folder).glob(name)) if (base / folder).is_dir() else []:
                return path
    return None


def need(copy: Copy, *names: str) -> Path:
    """The same.

    Raises:
        UsageError: There is none.
    """
    path = find(copy, *names)
    if path is None:
        raise UsageError(
            f"no annotations in {copy.annotations or copy.root}: {' or '.join(names)}",
            hint="name their folder with --annotations",
        )
    return path


def beside(copy: Copy, *names: str) -> Path:
    """The same for one file among several: `annotations` is then a folder, or their neighbour.

    Raises:
        UsageError: There is none.
    """
    folder = copy.annotations
    if folder is not None and folder.is_file():
        folder = folder.parent
    return need(Copy(root=copy.root, annotations=folder, split=copy.split), *names)


def text(path: Path) -> str:
    """What a text file holds.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def lines(path: Path) -> list[str]:
    """Its lines that are not empty.

    Raises:
        UsageError: There is none, or the file cannot be read.
    """
    found = [line for line in text(path).splitlines() if line.strip()]
    if not found:
        raise UsageError(f"{path} is empty")
    return found


def table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a header.

    Raises:
        UsageError: A column is missing.
    """
    reader = csv.DictReader(text(path).splitlines())
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise UsageError(
            f"{path} has no column {', '.join(missing)}, but: {', '.join(reader.fieldnames or ())}"
        )
    return list(reader)


def as_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UsageError: It is not JSON.
    """
    try:
        return json.loads(text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None


def integer(word: str, path: Path) -> int:
    """A number in an annotation file.

    Raises:
        UsageError: It is none.
    """
    try:
        return int(word)
    except ValueError:
        raise UsageError(f"{path} holds no whole number where one is wanted: {word!r}") from None


def pairs(path: Path) -> list[tuple[str, str]]:
    """Path and label of each line of a list ``path SEP label``; SEP is a comma, tab or space.

    Paths may hold any of these, so the last one separates.
    """
    found = []
    for line in lines(path):
        separator = next((s for s in (",", "\t", " ") if s in line), " ")
        head, _, tail = line.rstrip().rpartition(separator)
        found.append((head.strip(), tail.strip()))
    return found


class Media:
    """Every video file and folder of frames below a root, by the stem of its name."""

    def __init__(self, root: Path) -> None:
        self.paths: list[str] = sorted(_media_below(root))
        self.by_stem: dict[str, str] = {}
        for path in self.paths:
            self.by_stem.setdefault(_stem(path), path)

    def find(self, stem: str) -> str | None:
        """Path of the file or folder of that stem, below the root."""
        return self.by_stem.get(stem)


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    return stem if f".{ending.lower()}" in VIDEO_ENDINGS | IMAGE_ENDINGS else name


def _media_below(root: Path) -> Iterator[str]:
    for folder, names, files in os.walk(root, followlinks=True):
        names.sort()
        place = Path(folder)
        endings = [os.path.splitext(name)[1].lower() for name in files]  # noqa: PTH122
        if any(ending in IMAGE_ENDINGS for ending in endings) and place != root:
            yield place.relative_to(root).as_posix()
        for name, ending in zip(files, endings, strict=True):
            if ending in VIDEO_ENDINGS:
                yield (place / name).relative_to(root).as_posix()


def class_folders(root: Path, endings: frozenset[str]) -> tuple[list[str], list[tuple[str, int]]]:
    """Names of the folders of `root`, sorted, and (path, class) of the files in them.

    Where `endings` are of videos, a folder of images inside a class folder is a video too.
    """
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    found: list[tuple[str, int]] = []
    for index, name in enumerate(classes):
        for path in sorted((root / name).iterdir()):
            is_file = path.suffix.lower() in endings and path.is_file()
            if is_file or (path.is_dir() and endings is VIDEO_ENDINGS):
                found.append((f"{name}/{path.name}", index))
    return classes, found


def index_of(names: Sequence[str]) -> dict[str, int]:
    """Name -> place."""
    return {name: place for place, name in enumerate(names)}
