"""VideoMamba's files: supervised, fine-tuned, pretrained by masking, or for images.

Source: OpenGVLab/VideoMamba@f3427e4, ``videomamba/video_sm/run_class_finetuning.py`` and
``load_state_dict`` of ``models/videomamba.py``. Tables are resized as the former does, places
bicubic and times linear; kernels of an image model go to the middle frame of a tubelet as the
latter does, and its head is left out. Files pretrained by masking hold no head, and a last norm
under another name that fine-tuning starts without.
"""

from math import isqrt

from torch import Tensor, nn

from model_zoo.videomamba import VideoMamba
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.tables import inflate_centre, k710_head_as_k400, resize_1d, resize_2d

PREFIXES = ("backbone.", "encoder.")
PRETRAINING_ONLY = ("clip_decoder.", "norm.")
DISTILLATION_ONLY = ("distill_head.",)
HEAD = ("head.weight", "head.bias")


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Rename, drop, inflate and resize what the official loaders do."""
    assert isinstance(model, VideoMamba)
    untouched: list[str] = []
    state = without_prefixes(state)
    is_pretrained = any(name.startswith("clip_decoder.") for name in state)
    notes = drop(state, DISTILLATION_ONLY + (PRETRAINING_ONLY if is_pretrained else ()))
    if is_pretrained:
        untouched += ["norm_f.weight", "head.*"]
    if len(model.head.bias) == 400:
        notes += k710_head_as_k400(state, HEAD)
    kernel = state.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 4:
        frames = model.patch_embed.proj.weight.shape[2]
        state["patch_embed.proj.weight"] = inflate_centre(kernel, frames)
        notes += ["an image model's patches made the middle frame of a tubelet"]
        notes += drop(state, ("head.",))
        untouched += ["head.*", "temporal_pos_embedding"]
    notes += resize_places(state, model.pos_embed, model.patch_embed.grid[1:])
    notes += _resize_times(state, model.temporal_pos_embedding)
    return Conversion(state=state, notes=notes, untouched=untouched)


def without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each name without ``backbone.`` or ``encoder.``, as a new mapping."""
    prefix_of = {name: next((p for p in PREFIXES if name.startswith(p)), "") for name in state}
    return {name.removeprefix(prefix_of[name]): value for name, value in state.items()}


def drop(state: dict[str, Tensor], prefixes: tuple[str, ...]) -> list[str]:
    """Remove entries from `state`; a note says which, if there were any."""
    dropped = [name for name in state if name.startswith(prefixes)]
    for name in dropped:
        del state[name]
    return [f"left out: {', '.join(dropped)}"] if dropped else []


def resize_places(state: dict[str, Tensor], own: Tensor, grid: tuple[int, int]) -> list[str]:
    """Fit ``pos_embed`` to `grid`, the class token's entry kept; a note if that was needed."""
    table = state.get("pos_embed")
    if table is None or table.shape[1] == own.shape[1]:
        return []
    side = isqrt(table.shape[1] - 1)
    if side * side != table.shape[1] - 1:
        return []
    state["pos_embed"] = resize_2d(table, grid, num_prefix=1, old_grid=(side, side))
    return [f"pos_embed resized from {side} x {side} to {grid[0]} x {grid[1]} places"]


def _resize_times(state: dict[str, Tensor], own: Tensor) -> list[str]:
    table = state.get("temporal_pos_embedding")
    if table is None or table.shape[1] == own.shape[1]:
        return []
    state["temporal_pos_embedding"] = resize_1d(table, own.shape[1], mode="linear")
    return [f"temporal_pos_embedding resized from {table.shape[1]} to {own.shape[1]} times"]
