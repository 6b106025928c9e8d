"""UCF101: ``classInd.txt`` and ``testlist01.txt`` of its action recognition splits.

Classes are numbered from 1 in ``classInd.txt`` and from 0 here. Videos of one group ``gXX`` of one
class show one person in one place, and count as one cluster.
Source: crcv.ucf.edu/data/UCF101.php.
"""

from typing import Final

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.core.errors import UsageError

NUM_VIDEOS: Final = {
    "test1": 3_783, "test2": 3_734, "test3": 3_696,
    "train1": 9_537, "train2": 9_586, "train3": 9_624,
}  # fmt: skip


@register_dataset(
    "ucf101",
    title="UCF101",
    layout="ucfTrainTestlist/{classInd,testlist01}.txt and CLASS/v_CLASS_gXX_cYY.avi",
    splits=tuple(NUM_VIDEOS),
    num_classes={ONE_HEAD: 101},
    num_videos=NUM_VIDEOS,
)
def read(copy: Copy) -> Dataset:
    """Read UCF101."""
    part, number = copy.split[:-1], copy.split[-1]
    names = files.beside(copy, "classInd.txt", "ucfTrainTestlist/classInd.txt")
    path = files.beside(
        copy, f"{part}list0{number}.txt", f"ucfTrainTestlist/{part}list0{number}.txt"
    )
    numbered = dict(line.split(maxsplit=1) for line in files.lines(names))
    classes = tuple(numbered[key].strip() for key in sorted(numbered, key=int))
    places = files.index_of(classes)
    media = files.Media(copy.root)
    videos = []
    for line in files.lines(path):
        place = line.split()[0]
        name, _, file = place.partition("/")
        if name not in places:
            raise UsageError(f"{path} has a class that {names.name} lacks: {name}")
        stem = file.removesuffix(".avi")
        videos.append(
            Video(
                key=place,
                path=media.find(stem) or place,
                labels={ONE_HEAD: places[name]},
                group=stem.rpartition("_c")[0],
            )
        )
    return Dataset(
        name="ucf101",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: classes},
        videos=tuple(videos),
    )
