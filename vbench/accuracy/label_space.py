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


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A released order of classes; the keys are explained in ``label_orders.toml``."""

    dataset: str
    fingerprint: str
    source: str
    places: tuple[int, ...]


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


def columns(label_space: str, dataset: str, classes: Sequence[str]) -> list[int]:
    """For each class of the dataset, the output of the model that stands for it.

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
    if known is None or known.dataset != dataset:
        raise UsageError(
            f"the checkpoint's classes are those of {label_space}, not of {dataset}",
            hint="give the names of its outputs, one a line, with --class-names FILE",
        )
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
