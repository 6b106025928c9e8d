"""UMT's files for other classes and clips than the model's.

Source: OpenGVLab/unmasked_teacher@4fb4049, single_modality/run_class_finetuning.py: a head of 710
Kinetics classes is cut to the first 400, positions are resized in time, then in space. The official
code takes every table to have 8 frames; one that cannot is here taken to have 14 x 14 places.

Shapes: T x H x W tokens along time, height and width, S = H * W places, D channels.
"""

from math import isqrt

from torch import Tensor, nn

from model_zoo.umt import UMT
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.videomae import encoder_alone
from model_zoo.weights.tables import k710_head_as_k400, resize_1d, resize_2d


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Keep the encoder, cut the head and resize the positions, each where needed."""
    conversion = encoder_alone(state)
    state, notes = dict(conversion.state), list(conversion.notes)
    own = model.state_dict()
    if len(own["head.weight"]) == 400:
        notes += k710_head_as_k400(state, ("head.weight", "head.bias"))
    untouched = list(conversion.untouched)
    if "pos_embed" not in own:
        if state.pop("pos_embed", None) is not None:
            notes.append("pos_embed dropped: at this length the table is not a parameter")
    elif "pos_embed" not in state:
        untouched.append("pos_embed")
    elif state["pos_embed"].shape != own["pos_embed"].shape:
        assert isinstance(model, UMT)
        grid = model.patch_embed.grid
        state["pos_embed"] = _resized(state["pos_embed"], grid)
        notes.append(f"pos_embed resized to {grid[0]} x {grid[1]} x {grid[2]} tokens")
    return Conversion(state=state, notes=notes, untouched=untouched)


def _resized(table: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Resize as the official loader does: (1, t * h * w, D) -> (1, T * H * W, D)."""
    T, H, W = grid
    _, num_tokens, D = table.shape
    side = isqrt(num_tokens // 8)
    if 8 * side * side != num_tokens:
        side = 14
    if num_tokens % (side * side):
        return table
    times = table.reshape(-1, side * side, D).transpose(0, 1)  # (h*w, t, D)
    frames = resize_1d(times, T, mode="linear").transpose(0, 1)  # (T, h*w, D)
    return resize_2d(frames, (H, W)).reshape(1, T * H * W, D)  # (1, T*H*W, D)
