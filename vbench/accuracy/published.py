"""Published accuracies that stand beside a measured one: same variant, dataset and protocol."""

import model_zoo
from model_zoo import PublishedNumber
from vbench.accuracy.protocols import Protocol, published_sizes


def rows(model: str, dataset: str, head: str, protocol: Protocol) -> list[PublishedNumber]:
    """Printed top-1 of a variant; none under a custom protocol.

    What a table does not print of its test is taken as the protocol's; windows over long videos,
    which no table has, are not.

    Args:
        model: Name of the variant.
        dataset: Its name here.
        head: Which classifier, where a dataset has several.
        protocol: That the accuracy was measured under.
    """
    if not protocol.is_preset or protocol.windows:
        return []
    return [
        row
        for row in model_zoo.published(model)
        if row.metric == "top1_percent"
        and row.dataset in names(dataset, head)
        and row.num_frames == protocol.num_frames
        and row.num_clips in (None, protocol.num_clips)
        and row.num_crops in (None, protocol.spatial.num_crops)
        and row.size_px in published_sizes(protocol)
        and row.frame_stride in (None, protocol.frame_stride)
    ]


def names(dataset: str, head: str) -> set[str]:
    """What tables call a dataset, or its task.

    >>> sorted(names("lvu_scene", "class"))
    ['lvu/scene', 'lvu_scene']
    >>> "epic_kitchens100/action" in names("epic_kitchens100", "action")
    True
    """
    found = {dataset}
    if dataset.startswith("lvu_"):
        found.add(dataset.replace("_", "/", 1))
    if head != "class":
        found.add(f"{dataset}/{head}")
    return found
