"""Variant name -> what is known of it before it is built, and how to build it.

Listing the zoo must not import torch (it takes over a second), so the facts that `register_model`
is given are literals, and `catalogue` reads them from the text of the architecture files.
"""

import ast
import functools
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from model_zoo._errors import UnknownModelError, UnsupportedInputError

if TYPE_CHECKING:
    from torch import nn

ENTRY_POINT_GROUP: Final = "vbench.models"
ATTENTIONS: Final = ("eager", "sdpa", "flash", "efficient", "cudnn", "math")

NumClasses = int | Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What the variants of one architecture file share.

    Attributes:
        title: Name as the paper writes it.
        paper: Where the architecture is defined, e.g. ``arXiv:2102.05095``.
        repository: Implementation whose logits are reproduced, as ``owner/name@commit``.
        licence: Of the official code (a checkpoint's own is in ``weights/checkpoints.toml``).
        has_attention: Whether an attention backend can be chosen.
    """

    title: str
    paper: str
    repository: str
    licence: str
    has_attention: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What may be chosen when a variant is built; its config holds everything else.

    Attributes:
        num_classes: Classes of the head, or of each head by name.
        attention: One of `ATTENTIONS`; ``eager`` materialises the score matrix.
    """

    num_frames: int
    height_px: int
    width_px: int
    num_classes: NumClasses
    attention: str = "sdpa"

    def one_head(self) -> int:
        """Outputs of an architecture with one head; those of several stand one after another."""
        if isinstance(self.num_classes, int):
            return self.num_classes
        return sum(self.num_classes.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """What is known of a variant before it is built.

    Attributes:
        name: Public name, also of the function that builds it.
        family: Name of its file.
        summary: One line.
        clip: Default input as (num_frames, height_px, width_px).
        num_classes: Default classes of the head, or of each head by name.
        label_space: Dataset whose classes those are.
        module: Importable module that holds the function.
        has_attention: Whether an attention backend can be chosen.
    """

    name: str
    family: str
    title: str
    summary: str
    paper: str
    repository: str
    licence: str
    clip: tuple[int, int, int]
    num_classes: NumClasses
    label_space: str
    module: str
    has_attention: bool = True


Builder = TypeVar("Builder", bound=Callable[[Options], Any])


def register_model(
    *,
    family: Family,
    clip: tuple[int, int, int],
    num_classes: NumClasses = 400,
    label_space: str = "kinetics400",
) -> Callable[[Builder], Builder]:
    """Describe the decorated function, which builds a variant of its own name from `Options`.

    Arguments must be literals (`family` a module-level ``FAMILY``), see the module docstring.
    """

    def describe(build: Builder) -> Builder:
        module = build.__module__
        build.model_entry = ModelEntry(  # type: ignore[attr-defined]
            name=build.__name__,
            family=module.rpartition(".")[2],
            title=family.title,
            summary=(build.__doc__ or "").strip().partition("\n")[0],
            paper=family.paper,
            repository=family.repository,
            licence=family.licence,
            clip=clip,
            num_classes=num_classes,
            label_space=label_space,
            module=module,
            has_attention=family.has_attention,
        )
        return build

    return describe


@functools.cache
def catalogue() -> Mapping[str, ModelEntry]:
    """Every variant of this package by name, read without importing torch."""
    entries: dict[str, ModelEntry] = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        for entry in _read_entries(path):
            entries[entry.name] = entry
    return MappingProxyType(dict(sorted(entries.items())))


_FAMILY = re.compile(r"^FAMILY(?:: Final)? = (Family\(.*?^\))", re.DOTALL | re.MULTILINE)
_VARIANT = re.compile(
    r'^@(register_model\([^@]*?\))\ndef (\w+)\([^@]*?:\n    """(.*?)(?:"""|\n)',
    re.DOTALL | re.MULTILINE,
)


def _read_entries(path: Path) -> list[ModelEntry]:
    text = path.read_text(encoding="utf-8")
    family = _FAMILY.search(text)
    if family is None:
        return []
    shared = _literal_keywords(family[1])
    defaults: dict[str, Any] = {"num_classes": 400, "label_space": "kinetics400"}
    return [
        ModelEntry(
            name=name,
            family=path.stem,
            summary=summary.strip(),
            module=f"model_zoo.{path.stem}",
            **defaults | shared | _literal_keywords(decorator),
        )
        for decorator, name, summary in _VARIANT.findall(text)
    ]


def _literal_keywords(call: str) -> dict[str, Any]:
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    return {
        keyword.arg: ast.literal_eval(keyword.value)
        for keyword in node.keywords
        if keyword.arg and keyword.arg != "family"
    }


def list_models(pattern: str | None = None, *, family: str | None = None) -> list[str]:
    """Names of the zoo's variants and of third parties' entry points, sorted.

    Args:
        pattern: Shell pattern on the name, e.g. ``videomamba_*``, or of a library's models, e.g.
            ``timm:vit_*``.
        family: Architecture file, e.g. ``timesformer``.

    Raises:
        MissingLibraryError: The library that `pattern` names is not installed.
    """
    library, is_external, _ = (pattern or "").partition(":")
    if is_external:
        from model_zoo import _external

        names = set(_external.names(library))
    else:
        names = {name for name, entry in catalogue().items() if family in (None, entry.family)}
        if family is None:
            names |= {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted(name for name in names if pattern is None or fnmatchcase(name, pattern))


def model_entry(name: str) -> ModelEntry:
    """What is known of variant `name`.

    Args:
        name: Of a variant or an entry point, ``timm:NAME``, ``torchvision:NAME``,
            ``transformers:TYPE``, or ``package.module:callable``.

    Raises:
        UnknownModelError: No model has that name; the nearest is suggested.
        MissingLibraryError: The library that it names is not installed.
    """
    if name in catalogue():
        return catalogue()[name]
    entry: ModelEntry = _builder(name).model_entry
    return entry


def _builder(name: str) -> Any:
    """The function of `Options` that builds `name`, with its `model_entry`."""
    if name in catalogue():
        return getattr(importlib.import_module(catalogue()[name].module), name)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        from model_zoo import _external  # needs torch

        return _external.from_callable(point.load(), name)
    if ":" in name:
        from model_zoo import _external

        return _external.resolve(name)
    close = get_close_matches(name, list_models(), n=1)
    hint = f"did you mean `{close[0]}`?" if close else "`vbench models` lists all"
    raise UnknownModelError(f"unknown model: {name}", hint=hint)


def options_for(
    entry: ModelEntry,
    *,
    num_frames: int | None = None,
    resolution: int | tuple[int, int] | None = None,
    num_classes: NumClasses | None = None,
    attention: str = "sdpa",
) -> Options:
    """The defaults of `entry` with what was asked for in their place.

    Args:
        resolution: Pixels of a side, or (height, width).

    Raises:
        UnsupportedInputError: A value that no model can take.
    """
    if attention not in ATTENTIONS:
        raise UnsupportedInputError(
            f"unknown attention: {attention}", hint=f"known: {', '.join(ATTENTIONS)}"
        )
    height, width = (
        (resolution, resolution) if isinstance(resolution, int) else (resolution or entry.clip[1:])
    )
    options = Options(
        num_frames=entry.clip[0] if num_frames is None else num_frames,
        height_px=height,
        width_px=width,
        num_classes=entry.num_classes if num_classes is None else num_classes,
        attention=attention,
    )
    for quantity in ("num_frames", "height_px", "width_px", "num_classes"):
        value = getattr(options, quantity)
        if min(value.values() if isinstance(value, Mapping) else [value], default=0) < 1:
            raise UnsupportedInputError(f"{quantity} must be at least 1, not {value}")
    return options


def create_model(
    name: str,
    *,
    num_frames: int | None = None,
    resolution: int | tuple[int, int] | None = None,
    num_classes: NumClasses | None = None,
    attention: str = "sdpa",
) -> "nn.Module":
    """Build a model with random weights: clips (B, 3, T, H, W) -> logits (B, num_classes).

    What is None is the variant's own default (`model_entry`). Build inside
    ``with torch.device("meta")`` for a model without storage.

    Args:
        resolution: Pixels of a side, or (height, width).
        attention: One of `ATTENTIONS`.

    Raises:
        UnknownModelError: No model has that name.
        MissingLibraryError: The library that it names is not installed.
        UnsupportedInputError: The architecture cannot take that input.
    """
    build = _builder(name)
    options = options_for(
        build.model_entry,
        num_frames=num_frames,
        resolution=resolution,
        num_classes=num_classes,
        attention=attention,
    )
    model: nn.Module = build(options)
    return model
