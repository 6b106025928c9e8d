"""Name -> object, filled by decorators, one file per entry, and by third parties' entry points."""

import importlib
import pkgutil
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from vbench.core.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named entries of one kind, discovered by importing every module of one package.

    >>> colours: Registry[str] = Registry("colour")
    >>> colours.add("red", "#f00")
    >>> colours["red"]
    '#f00'
    >>> colours["rad"]
    Traceback (most recent call last):
    vbench.core.errors.UsageError: unknown colour: rad
    """

    def __init__(self, kind: str, *, package: str | None = None) -> None:
        self._kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._discovered = package is None

    def add(self, name: str, entry: T) -> None:
        """Register `entry`; a second entry of the same name is a bug, so it raises."""
        if name in self._entries:
            raise ValueError(f"{self._kind} registered twice: {name}")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        self._discover()
        try:
            return self._entries[name]
        except KeyError:
            close = get_close_matches(name, self._entries, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(self)}"
            raise UsageError(f"unknown {self._kind}: {name}", hint=hint) from None

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._entries))

    def _discover(self) -> None:
        if self._discovered or self._package is None:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        for point in entry_points(group=f"vbench.{self._kind}s"):
            point.load()  # its decorator adds it
