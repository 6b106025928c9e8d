"""HMDB51: 51 files ``{class}_test_split1.txt`` with lines ``name.avi {1|2|0}``.

1 is training, 2 is test, 0 is neither. Classes are in the order of their names.
Source: serre-lab.clps.brown.edu, HMDB: a large human motion database.
"""

from typing import Final

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset

MARKS: Final = {"train": "1", "test": "2"}
SPLITS: Final = ("test1", "test2", "test3", "train1", "train2", "train3")


@register_dataset(
    "hmdb51",
    title="HMDB51",
    layout="CLASS_test_split1.txt (51 of them) and CLASS/NAME.avi",
    splits=SPLITS,
    licence="CC BY 4.0",
    num_classes={ONE_HEAD: 51},
    num_videos={split: 1_530 if split.startswith("test") else 3_570 for split in SPLITS},
)
def read(copy: Copy) -> Dataset:
    """Read HMDB51."""
    part, number = copy.split[:-1], copy.split[-1]
    ending = f"_test_split{number}.txt"
    first = files.beside(copy, f"*{ending}", f"testTrainMulti_7030_splits/*{ending}",
                         f"test_train_splits/*{ending}")  # fmt: skip
    lists = {path.name.removesuffix(ending): path for path in first.parent.glob(f"*{ending}")}
    classes = tuple(sorted(lists))
    media = files.Media(copy.root)
    videos = []
    for label, name in enumerate(classes):
        for line in files.lines(lists[name]):
            file, _, mark = line.strip().rpartition(" ")
            if mark == MARKS[part]:
                stem = file.strip().removesuffix(".avi")
                videos.append(
                    Video(
                        key=f"{name}/{stem}",
                        path=media.find(stem) or f"{name}/{stem}.avi",
                        labels={ONE_HEAD: label},
                    )
                )
    return Dataset(
        name="hmdb51",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: classes},
        videos=tuple(videos),
    )
