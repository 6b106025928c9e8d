"""Load released checkpoints into the zoo's models, strictly.

A file is read (`reading`), its state dict found by what fits the model (`unwrap`), given the
model's names by the family's adapter if there is one (`keymaps`), compared with the model entry by
entry, and only then copied: a checkpoint that does not fit changes nothing.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from model_zoo._errors import CheckpointError
from model_zoo._released import (
    ReleasedCheckpoint,
    checkpoints,
    hint_from_name,
    released_checkpoints,
)
from model_zoo.weights import keymaps
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.reading import read
from model_zoo.weights.unwrap import unwrap

__all__ = [
    "Conversion",
    "LoadReport",
    "ReleasedCheckpoint",
    "checkpoints",
    "load_checkpoint",
    "released_checkpoints",
]

NUM_LISTED: Final = 10  # of the names that do not fit


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
    if any(tensor.is_meta for tensor in own.values()):
        raise CheckpointError(
            "a model on the meta device holds no values to load into",
            hint="build it on a device; `to_empty` would leave computed tables unset",
        )
    if isinstance(source, Mapping) and expected_sha256 is not None:
        raise CheckpointError("only a file has a SHA-256, not a mapping")
    path = None if isinstance(source, Mapping) else Path(source)
    loaded = source if path is None else read(path, expected_sha256=expected_sha256)
    name = "mapping" if path is None else str(path)
    state, notes = unwrap(loaded, own.keys(), name)
    conversion = keymaps.convert(state, model)
    plan = _plan(conversion, own, head=keymaps.head_names(model), load=with_head)
    problems = plan.problems(own)
    if problems:
        hints = (plan.hint(own), hint_from_name(path.name) if path else None)
        raise CheckpointError(
            f"{name} does not fit the model: {problems}",
            hint="; ".join(filter(None, hints)) or None,
        )
    model.load_state_dict(plan.state, strict=False)
    return LoadReport(
        source=name,
        num_tensors=len(plan.state),
        notes=(*notes, *conversion.notes),
        untouched=tuple(key for key in own if key in plan.untouched),
        head_loaded=bool(plan.head) and not plan.head & plan.untouched,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What would be copied, and the model's entries that would keep their values."""

    state: dict[str, Tensor]
    untouched: Set[str]
    head: Set[str]

    def problems(self, own: Mapping[str, Tensor]) -> str:
        """Everything that keeps `state` from fitting the model; empty if it fits."""
        missing = [key for key in own if key not in self.state and key not in self.untouched]
        unexpected = [key for key in self.state if key not in own]
        reshaped = [
            f"{key} (wanted {tuple(own[key].shape)}, got {tuple(self.state[key].shape)})"
            for key in self._misshapen(own)
        ]
        kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        return "; ".join(
            f"{len(names)} {kind}: {', '.join(names[:NUM_LISTED])}"
            + (", ..." if len(names) > NUM_LISTED else "")
            for kind, names in kinds
            if names
        )

    def hint(self, own: Mapping[str, Tensor]) -> str | None:
        """What to do where only the number of classes differs."""
        misshapen = self._misshapen(own)
        if not misshapen or set(misshapen) - self.head:
            return None
        return (
            f"build the model with num_classes={self.state[misshapen[0]].shape[0]}, "
            "or load with_head=False"
        )

    def _misshapen(self, own: Mapping[str, Tensor]) -> list[str]:
        return [k for k, value in self.state.items() if k in own and value.shape != own[k].shape]


def _plan(
    conversion: Conversion, own: Mapping[str, Tensor], *, head: set[str], load: bool
) -> _Plan:
    state = conversion.state if load else _without(conversion.state, head)
    # A count that files older than torch 0.4.1 lack, and that no forward pass reads.
    absent = keymaps.matching(own, (*conversion.untouched, "*num_batches_tracked"))
    untouched = (absent if load else absent | head) - state.keys()
    return _Plan(state=state, untouched=untouched, head=head)


def _without(state: Mapping[str, Tensor], names: Set[str]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in names}


def _innermost(model: nn.Module) -> nn.Module:
    """The model inside wrappers: torch.compile's, DistributedDataParallel's, a library model's."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        names = ("module",) if isinstance(model, parallel) else ("_orig_mod", "library_model")
        inner = next((getattr(model, name) for name in names if hasattr(model, name)), None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner
