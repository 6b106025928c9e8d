"""What official loaders do to tensors that do not fit: tables resized, kernels inflated."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_1d(table: Tensor, length: int, *, mode: str, num_prefix: int = 0) -> Tensor:
    """Resize the middle axis: (B, N, D) -> (B, length, D).

    Args:
        mode: ``nearest`` or ``linear``, as `torch.nn.functional.interpolate` takes it.
        num_prefix: Leading entries that are kept as they are (the class token's).
    """
    if table.shape[1] == length:
        return table
    prefix, places = table[:, :num_prefix], table[:, num_prefix:]
    along_last = places.transpose(1, 2)  # (B, D, N)
    resized = _interpolate(along_last, (length - num_prefix,), mode)  # (B, D, length)
    return torch.cat((prefix, resized.transpose(1, 2)), dim=1)


def resize_2d(
    table: Tensor,
    grid: tuple[int, int],
    *,
    mode: str = "bicubic",
    num_prefix: int = 0,
    old_grid: tuple[int, int] | None = None,
) -> Tensor:
    """Resize each row-major grid of positions: (T, P + h * w, D) -> (T, P + H * W, D).

    Args:
        grid: (H, W).
        num_prefix: P leading entries that are kept as they are (the class token's).
        old_grid: (h, w); square if None.
    """
    prefix, places = table[:, :num_prefix], table[:, num_prefix:]
    side = int(places.shape[1] ** 0.5)
    height, width = old_grid or (side, side)
    if (height, width) == grid:
        return table
    D = places.shape[-1]
    image = places.reshape(-1, height, width, D).permute(0, 3, 1, 2)  # (T, D, h, w)
    image = _interpolate(image, grid, mode)  # (T, D, H, W)
    return torch.cat((prefix, image.flatten(2).transpose(1, 2)), dim=1)  # (T, P + H * W, D)


def _interpolate(x: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    align_corners = None if mode == "nearest" else False
    exact = x if x.dtype == torch.float64 else x.float()  # no half kernels on every CPU
    return F.interpolate(exact, size=size, mode=mode, align_corners=align_corners).to(x.dtype)


def inflate_centre(kernel: Tensor, num_frames: int) -> Tensor:
    """A 2-D kernel as the middle frame of a 3-D one: (O, I, h, w) -> (O, I, T, h, w)."""
    inflated = kernel.new_zeros(*kernel.shape[:2], num_frames, *kernel.shape[2:])
    inflated[:, :, num_frames // 2] = kernel
    return inflated


def inflate_mean(kernel: Tensor, num_frames: int) -> Tensor:
    """A 2-D kernel repeated and divided by T: (O, I, h, w) -> (O, I, T, h, w)."""
    return kernel.unsqueeze(2).repeat(1, 1, num_frames, 1, 1) / num_frames


def k710_head_as_k400(state: dict[str, Tensor], names: tuple[str, ...]) -> list[str]:
    """Cut the 710-class entries `names` of `state` to Kinetics-400 in place; return notes.

    For loaders that keep the first 400 classes, which are Kinetics-400 in UniFormer's order (UMT,
    VideoMamba). VideoMAE V2's sorts them by a list of rows, see `select_rows`.
    """
    cut = [name for name in names if name in state and state[name].shape[0] == 710]
    state.update({name: state[name][:400] for name in cut})
    return ["first 400 of the 710 Kinetics classes kept, as the official loader does"] * bool(cut)


def select_rows(table: Tensor, rows: list[int]) -> Tensor:
    """Rows of a head in another label space's order: (C, ...) -> (len(rows), ...)."""
    return table[torch.tensor(rows)]
