"""Something-Something V2: ``labels.json`` and ``something-something-v2-validation.json``.

An item's template without its brackets is a key of ``labels.json``, whose values are numbers as
text. Videos are ``{id}.webm`` (or ``.mp4`` once converted), or folders of frames ``{id}/``. Classes
that look like another class backwards are a slice, ``reversible``.
Source: facebookresearch/TimeSformer@a5ef29a timesformer/datasets/ssv2.py.
"""

from typing import Final

from vbench.accuracy.datasets import (
    ONE_HEAD,
    Copy,
    Dataset,
    Video,
    files,
    opposites,
    register_dataset,
)
from vbench.core.errors import UsageError

PREFIX: Final = "something-something-v2-"
SPLITS: Final = {"val": "validation", "train": "train"}
# Words by which a class differs from what it looks like backwards.
REVERSALS: Final[dict[str, opposites.Swap]] = {
    "left/right": (("left", "right"),),
    "up/down": (("up", "down"),),
    "opening/closing": (("opening", "closing"),),
    "folding/unfolding": (("folding", "unfolding"),),
    "towards/away": (("towards", "away from"),),
    "closer/away": (("closer to", "away from"),),
    "approaching/away": (("approaching", "moving away from"),),
    "into/out of": (("putting", "taking"), ("into", "out of")),
    "in/out of": (("burying", "digging"), ("in", "out of")),
}


@register_dataset(
    "ssv2",
    title="Something-Something V2",
    layout="labels/{labels,validation}.json or something-something-v2-{labels,validation}.json,"
    " and ID.webm",
    splits=("val", "train"),
    licence="research licence, no redistribution",
    num_classes={ONE_HEAD: 174},
    num_videos={"val": 24_777, "train": 168_913},
)
def read(copy: Copy) -> Dataset:
    """Read Something-Something V2."""
    split = SPLITS[copy.split]
    names = files.beside(copy, f"{PREFIX}labels.json", "labels.json")
    path = files.beside(copy, f"{PREFIX}{split}.json", f"{split}.json")
    numbers = {name: int(number) for name, number in files.as_json(names).items()}
    classes = sorted(numbers, key=numbers.__getitem__)
    if [numbers[name] for name in classes] != list(range(len(classes))):
        raise UsageError(f"{names} does not number its classes from 0 without a gap")
    backwards = opposites.reversals(opposites.opposite_places(classes, REVERSALS), len(classes))
    media = files.Media(copy.root)
    videos = []
    for item in files.as_json(path):
        template = item["template"].replace("[", "").replace("]", "")
        if template not in numbers:
            raise UsageError(f"{path} has a template that {names.name} lacks: {template}")
        identity = str(item["id"])
        place = media.find(identity) or f"{identity}.webm"
        label = numbers[template]
        slices = ("reversible",) if backwards[label] != opposites.NO_REVERSAL else ()
        videos.append(Video(key=identity, path=place, labels={ONE_HEAD: label}, slices=slices))
    return Dataset(
        name="ssv2",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: tuple(classes)},
        videos=tuple(videos),
        reversals={ONE_HEAD: backwards},
    )
