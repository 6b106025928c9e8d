"""Outputs of a model -> classes of a dataset, by the name of the class and never by its number.

Two Kinetics-400 checkpoints may number all 400 classes differently, and a model evaluated with the
other's list scores 0.3 %.
"""

import functools
import hashlib
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Final

import msgspec
from msgspec import Struct

from vbench.core.errors import UsageError

OWN: Final = "its own"  # classes of whatever a model was trained on by its user
IGNORED: Final = "[]\"'`"
NO_OUTPUT: Final = -1  # in place of a column: the model cannot answer this class
MOST_LACKING: Final = 0.01  # share of a dataset's classes that a model may have no output for


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A released order of classes; the keys are explained in ``label_orders.toml``."""

    datasets: tuple[str, ...]
    source: str
    fingerprint: str = ""
    places: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    renamed: dict[str, int] = {}


@functools.cache
def orders() -> dict[str, Order]:
    """Every known order that is not the dataset's own."""
    text = (resources.files("vbench.accuracy") / "label_orders.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Order])


def fingerprint(classes: Sequence[str]) -> str:
    """SHA-256 of the class names, whatever their order.

    >>> fingerprint(["b", "a"]) == fingerprint(["a", "b"])
    True
    """
    return hashlib.sha256("\n".join(sorted(classes)).encode()).hexdigest()


def plain(name: str) -> str:
    """A class name as it is compared: lower case, no quotes or brackets, spaces for underscores.

    >>> plain("Pouring_[something] into 'it'")
    'pouring something into it'
    """
    kept = "".join(" " if c == "_" else c for c in name if c not in IGNORED)
    return " ".join(kept.lower().split())


def name_hash(name: str) -> str:
    """Eight hex digits that stand for a class name in ``label_orders.toml``.

    >>> name_hash("Tap_dancing") == name_hash("tap dancing")
    True
    """
    return hashlib.sha256(plain(name).encode()).hexdigest()[:8]


def holds(label_space: str, dataset: str) -> bool:
    """Whether a checkpoint's classes are known to hold those of the dataset."""
    known = orders().get(label_space)
    return label_space == dataset or (known is not None and dataset in known.datasets)


def num_outputs(label_space: str, classes: Sequence[str]) -> int:
    """Outputs of a checkpoint, which may have more classes than the dataset."""
    known = orders().get(label_space)
    return len(known.names) if known is not None and known.names else len(classes)


def columns(label_space: str, dataset: str, classes: Sequence[str]) -> list[int]:
    """For each class of the dataset, the output of the model that stands for it, or `NO_OUTPUT`.

    Args:
        label_space: Of the checkpoint.
        dataset: Its name.
        classes: Its class names, in its own order.

    Raises:
        UsageError: The checkpoint's classes are others, or not known by name.
    """
    known = orders().get(label_space)
    if label_space in (dataset, OWN):
        return list(range(len(classes)))
    if known is None or dataset not in known.datasets:
        raise UsageError(
            f"the checkpoint's classes are those of {label_space}, not of {dataset}",
            hint="give the names of its outputs, one a line, with --class-names FILE",
        )
    if known.names:
        return _columns_by_hash(known, label_space, classes)
    if fingerprint(classes) != known.fingerprint:
        raise UsageError(
            f"the class names of this copy of {dataset} are not those that {label_space} orders",
            hint="give the names of the model's outputs, one a line, with --class-names FILE",
        )
    by_name = sorted(range(len(classes)), key=classes.__getitem__)
    found = [0] * len(classes)
    for output, place in enumerate(known.places):
        found[by_name[place]] = output
    return found


def _columns_by_hash(order: Order, label_space: str, classes: Sequence[str]) -> list[int]:
    places = {digest: place for place, digest in enumerate(order.names)} | order.renamed
    found = [places.get(name_hash(name), NO_OUTPUT) for name in classes]
    lacking = [name for name, place in zip(classes, found, strict=True) if place == NO_OUTPUT]
    if len(lacking) > MOST_LACKING * len(classes):
        raise UsageError(
            f"{len(lacking)} of {len(classes)} classes are not among those of {label_space}, "
            f"the first: {lacking[0]}",
            hint="give the names of the model's outputs, one a line, with --class-names FILE",
        )
    return found


def columns_by_name(outputs: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The same from the names of the model's outputs; outputs of other classes are left out.

    Raises:
        UsageError: A class of the dataset has no output, or two outputs one name.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(outputs):
        if plain(name) in places:
            raise UsageError(f"two outputs of the model have one name: {name}")
        places[plain(name)] = place
    missing = [name for name in classes if plain(name) not in places]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(classes)} classes have no output of the model, "
            f"the first: {missing[0]}"
        )
    return [places[plain(name)] for name in classes]
