"""Video architectures in plain PyTorch, faithful to their official checkpoints.

Importing this package, `list_models`, `model_entry` and `published` do not import torch.
"""

from typing import TYPE_CHECKING, Any

from model_zoo._errors import (
    CheckpointError,
    MissingLibraryError,
    UnknownModelError,
    UnsupportedInputError,
    ZooError,
)
from model_zoo._published import PublishedNumber, published
from model_zoo._registry import (
    ATTENTIONS,
    ModelEntry,
    Options,
    create_model,
    list_models,
    model_entry,
)
from model_zoo._released import ReleasedCheckpoint, released_checkpoints, shipped_checkpoint

if TYPE_CHECKING:
    from model_zoo.weights import LoadReport, load_checkpoint

__all__ = [
    "ATTENTIONS",
    "CheckpointError",
    "LoadReport",
    "MissingLibraryError",
    "ModelEntry",
    "Options",
    "PublishedNumber",
    "ReleasedCheckpoint",
    "UnknownModelError",
    "UnsupportedInputError",
    "ZooError",
    "create_model",
    "list_models",
    "load_checkpoint",
    "model_entry",
    "published",
    "released_checkpoints",
    "shipped_checkpoint",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used."""
    if name in ("load_checkpoint", "LoadReport"):
        from model_zoo import weights

        return getattr(weights, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
