"""One adapter a family, for released files whose names or shapes are not ours.

``keymaps/<family>.py`` (family = the file of the model's class) may hold

    def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion

It is given the file's tensors, already unwrapped and without uniform prefixes, and gives the same
tensors under the model's names. It renames, drops, inflates and resizes what the official loader
does, notes each such step, and leaves alone what it does not know: `load_checkpoint` then lists
that as unexpected or missing. It must pass a state that already has our names and shapes through.

It may also hold ``HEAD``, shell patterns of the classifier's entries where `DEFAULT_HEAD` misses.
"""

import fnmatch
import importlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from model_zoo._errors import CheckpointError

# The first of these that fits; one alone, since a head may hold more than its classifier.
DEFAULT_HEAD: Final = (
    "head.projection.*",
    "cls_head.fc_cls.*",
    "head.*",
    "*.head.*",
    "head_*",
    "classifier.*",
    "fc.*",
    "new_fc.*",
)

Renames = Sequence[tuple[str, str]]  # regular expressions and what stands in their place


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """A file's tensors under the model's names.

    Attributes:
        notes: What was renamed, resized or dropped, one sentence each.
        untouched: Shell patterns of the model's entries that this kind of file does not hold, and
            that keep the values they have (a frozen tower released in its own file, the head
            of an ImageNet initialisation). Any other missing entry is an error.
    """

    state: dict[str, Tensor]
    notes: Sequence[str] = ()
    untouched: Sequence[str] = ()


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Apply the adapter of the model's family, if there is one.

    Raises:
        CheckpointError: The adapter met a tensor that it cannot convert.
    """
    adapter = _adapter_name(model)
    if adapter is None:
        return Conversion(state=state)
    module = importlib.import_module(adapter)
    try:
        conversion: Conversion = module.convert(state, model)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        family = adapter.rpartition(".")[2]
        raise CheckpointError(
            f"not in a layout that {family} was released in: {error!r}"
        ) from error
    return conversion


def head_names(model: nn.Module) -> set[str]:
    """Names of the entries of the model's classifier; empty for one that has none."""
    names = model.state_dict().keys()
    adapter = _adapter_name(model)
    module = None if adapter is None else importlib.import_module(adapter)
    stated: Sequence[str] | None = getattr(module, "HEAD", None)
    if stated is not None:
        return matching(names, stated)
    return next(filter(None, (matching(names, [pattern]) for pattern in DEFAULT_HEAD)), set())


def matching(names: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """Those of `names` that match one of the shell `patterns`."""
    return {name for pattern in patterns for name in fnmatch.filter(names, pattern)}


def renamed(name: str, renames: Renames) -> str:
    r"""`name` after every replacement, each applied to what the ones before it left.

    >>> renamed("layer.3.query.bias", ((r"^layer\.", "blocks."), (r"query\.bias$", "q_bias")))
    'blocks.3.q_bias'
    """
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _adapter_name(model: nn.Module) -> str | None:
    package, _, family = type(model).__module__.rpartition(".")
    name = f"{__name__}.{family}"
    is_ours = package == "model_zoo" and importlib.util.find_spec(name) is not None
    return name if is_ours else None
