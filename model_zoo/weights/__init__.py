"""Load released checkpoints into the zoo's models, strictly.

A file is read (`reading`), its state dict found by what fits the model (`unwrap`), given the
model's names by the family's adapter if there is one (`keymaps`), compared with the model entry by
entry, and only then copied: a checkpoint that does not fit changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from model_zoo._errors import CheckpointError
from model_zoo.weights import keymaps
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.reading import read
from model_zoo.weights.unwrap import unwrap

__all__ = ["Conversion", "LoadReport", "load_checkpoint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What a checkpoint gave a model.

    Attributes:
        source: Path, or ``mapping``.
        num_tensors: Entries of the model that now hold the checkpoint's values.
        notes: What was unwrapped, renamed, resized or dropped, one sentence each.
        untouched: Entries that this kind of file does not hold and that were left as they were.
        head_loaded: Whether the whole classifier came from the file.
    """

    source: str
    num_tensors: int
    notes: tuple[str, ...]
    untouched: tuple[str, ...]
    head_loaded: bool


def load_checkpoint(
    model: nn.Module,
    source: str | PathLike[str] | Mapping[str, Any],
    *,
    with_head: bool = True,
    expected_sha256: str | None = None,
) -> LoadReport:
    """Copy a checkpoint's values into `model`, all or none.

    Args:
        source: A file (torch, safetensors, TorchScript, Caffe2 pickle) or what one would hold,
            in the official layout or in that of ``model.state_dict()``.
        with_head: False leaves the classifier as it is, for training on other classes.
        expected_sha256: Of the file; checked before it is read.

    Raises:
        CheckpointError: It is unreadable, or an entry is missing, unexpected or of another shape.
    """
    model = _innermost(model)
    own = model.state_dict()
    name = "mapping" if isinstance(source, Mapping) else str(source)
    loaded = source if isinstance(source, Mapping) else read(Path(source))
    state, notes = unwrap(loaded, own.keys(), name)
    conversion = keymaps.convert(state, model)
    head = _matching(own, keymaps.head_patterns(model))
    untouched = _matching(own, conversion.untouched) - conversion.state.keys()
    state = conversion.state
    if not with_head:
        state = {key: value for key, value in state.items() if key not in head}
        untouched |= head
    _require_fit(state, own, untouched, name)
    model.load_state_dict(state, strict=False)
    return LoadReport(
        source=name,
        num_tensors=len(state),
        notes=(*notes, *conversion.notes),
        untouched=tuple(key for key in own if key in untouched),
        head_loaded=bool(head) and not head & untouched,
    )


def _innermost(model: nn.Module) -> nn.Module:
    """The model inside torch.compile's and DistributedDataParallel's wrappers."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _matching(names: Mapping[str, Any], patterns: Any) -> set[str]:
    return {name for name in names if any(fnmatchcase(name, p) for p in patterns)}


def _require_fit(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], untouched: set[str], source: str
) -> None:
    missing = [name for name in own if name not in state and name not in untouched]
    unexpected = [name for name in state if name not in own]
    reshaped = [
        f"{name} (wanted {tuple(own[name].shape)}, got {tuple(value.shape)})"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        )
        if names
    ]
    if problems:
        raise CheckpointError(f"{source} does not fit the model: {'; '.join(problems)}")
