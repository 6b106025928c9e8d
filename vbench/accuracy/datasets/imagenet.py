"""ImageNet-1k: class folders by WordNet id, or the flat validation images with their labels.

Classes are numbered in the order of their WordNet ids. The devkit's ground truth uses other numbers
(ILSVRC2012_ID), translated by its ``meta.mat``; Kaggle's ``LOC_val_solution.csv`` names ids.
"""

from pathlib import Path

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.accuracy.images import IMAGE_ENDINGS
from vbench.core.errors import UsageError

NUM_CLASSES = 1000


@register_dataset(
    "imagenet1k",
    title="ImageNet-1k",
    layout="val/WNID/IMAGE.JPEG; or val/IMAGE.JPEG with LOC_val_solution.csv or the devkit's data",
    splits=("val", "train"),
    licence="research and education only, no redistribution",
    num_classes={ONE_HEAD: NUM_CLASSES},
    num_videos={"val": 50_000, "train": 1_281_167},
)
def read(copy: Copy) -> Dataset:
    """Read ImageNet-1k; an image is a video of one frame."""
    folder = copy.root / copy.split if (copy.root / copy.split).is_dir() else copy.root
    prefix = "" if folder == copy.root else f"{copy.split}/"
    flat = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    if flat:
        wnids = _labels(copy, flat)
        classes = sorted(set(wnids))
        number = files.index_of(classes)
        listed = [(name, number[wnid]) for name, wnid in zip(flat, wnids, strict=True)]
    else:
        classes, listed = files.class_folders(folder, IMAGE_ENDINGS)
    return Dataset(
        name="imagenet1k",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: tuple(classes)},
        videos=tuple(
            Video(key=Path(path).stem, path=f"{prefix}{path}", labels={ONE_HEAD: label})
            for path, label in listed
        ),
    )


def _labels(copy: Copy, names: list[str]) -> list[str]:
    """WordNet id of each image of the flat folder."""
    solution = files.find(copy, "LOC_val_solution.csv")
    if solution is not None:
        rows = files.table(solution, "ImageId", "PredictionString")
        found = {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
        missing = [name for name in names if Path(name).stem not in found]
        if missing:
            raise UsageError(f"{solution} does not name the image: {missing[0]}")
        return [found[Path(name).stem] for name in names]
    name = "ILSVRC2012_validation_ground_truth.txt"
    truth = files.need(copy, name, f"data/{name}", f"ILSVRC2012_devkit_t12/data/{name}")
    wnid_of = _devkit_ids(truth.with_name("meta.mat"))
    numbers = [files.integer(line, truth) for line in files.lines(truth)]
    places = [int(Path(name).stem.rpartition("_")[2]) - 1 for name in names]
    return [wnid_of[numbers[place]] for place in places]


def _devkit_ids(path: Path) -> dict[int, str]:
    from scipy.io import loadmat

    if not path.is_file():
        raise UsageError(f"the devkit's numbers need its meta.mat: {path}")
    synsets = loadmat(str(path), squeeze_me=True)["synsets"]
    return {int(entry[0]): str(entry[1]) for entry in synsets}
