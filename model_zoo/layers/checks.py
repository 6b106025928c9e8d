"""What a model says of an input or an option that it cannot take."""

from torch import Tensor

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Options


def require_size(clips: Tensor, options: Options, *, any_num_frames: bool = False) -> None:
    """Refuse clips (B, 3, T, H, W) of another size than the model was built for."""
    if clips.ndim != 5:
        raise UnsupportedInputError(
            f"clips must be (B, 3, T, H, W), not of shape: {tuple(clips.shape)}"
        )
    T, H, W = clips.shape[2:]
    wanted = (T if any_num_frames else options.num_frames, options.height_px, options.width_px)
    if wanted != (T, H, W):
        raise UnsupportedInputError(
            f"built for clips of (T, H, W) = {wanted}, got: {(T, H, W)}",
            hint="create the model with that num_frames and resolution",
        )


def patch_grid(options: Options, patch_px: int) -> tuple[int, int]:
    """Whole patches along height and width; refuses a frame smaller than one patch."""
    grid = (options.height_px // patch_px, options.width_px // patch_px)
    if 0 in grid:
        raise UnsupportedInputError(
            f"frames must hold a patch of {patch_px} x {patch_px} px, "
            f"got: {options.height_px} x {options.width_px}"
        )
    return grid
