"""What weights say of how they were made: text beside the tensors of a safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path

from vbench.accuracy.motion.labels import HEADS
from vbench.core.errors import UsageError

SUFFIX = ".safetensors"


def encoded_heads(heads: Mapping[str, int]) -> str:
    """As the entry ``heads`` holds them."""
    return json.dumps(dict(heads))


def heads_of(path: Path) -> dict[str, int] | None:
    """Classes of each head that weights of `vbench train` tell apart; None for other weights.

    Raises:
        UsageError: It is no such file.
    """
    if path.suffix != SUFFIX:
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            found = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read the checkpoint {path}: {error}") from None
    if "recipe" not in found:
        return None
    if "heads" not in found:  # made when there were no others
        return {head: len(names) for head, names in HEADS.items()}
    heads: dict[str, int] = json.loads(found["heads"])
    return heads
