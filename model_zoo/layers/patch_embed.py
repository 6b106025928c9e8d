"""Clips cut into tokens by one strided convolution.

Shapes: B clips, T x H x W frames and pixels, N tokens, D channels of a token.
"""

from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Options
from model_zoo.layers.checks import patch_grid, require_size


def tubelet_grid(options: Options, tubelet_frames: int, patch_px: int) -> tuple[int, int, int]:
    """Whole boxes along time, height and width.

    Raises:
        UnsupportedInputError: The clip is smaller than one box.
    """
    if options.num_frames < tubelet_frames:
        raise UnsupportedInputError(
            f"a clip must hold at least {tubelet_frames} frames, got: {options.num_frames}"
        )
    return (options.num_frames // tubelet_frames, *patch_grid(options, patch_px))


class TubeletEmbed(nn.Module):
    """Project each box of `tubelet_frames` x `patch_px` x `patch_px` to a token; parameter `proj`.

    Frames and pixels at an end that do not fill a box are left out.

    Attributes:
        grid: Tokens along time, height and width.
    """

    def __init__(self, options: Options, dim: int, *, tubelet_frames: int, patch_px: int) -> None:
        super().__init__()
        self.options = options
        self.grid = tubelet_grid(options, tubelet_frames, patch_px)
        box = (tubelet_frames, patch_px, patch_px)
        self.proj = nn.Conv3d(3, dim, kernel_size=box, stride=box)

    @property
    def num_tokens(self) -> int:
        """Tokens of a clip."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    def forward(self, clips: Tensor) -> Tensor:
        """Embed, time outermost and width innermost: (B, 3, T, H, W) -> (B, N, D).

        Raises:
            UnsupportedInputError: Clips of another size than the positions were made for.
        """
        require_size(clips, self.options)
        return self.proj(clips).flatten(2).transpose(1, 2)  # (B, N, D)
