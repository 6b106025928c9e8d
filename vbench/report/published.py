"""Published points that figures and tables stand beside, never among.

`published/figure1.csv` was digitised from Figure 1 of VideoMamba (arXiv 2403.06977): markers read
to about 2 %. How it was made is in the paper's repository, OpenGVLab/VideoMamba@f3427e4,
`videomamba/video_sm/models/speed_test.py`: bf16 autocast, inference on an A100 of 80 GB. Its
TimeSformer-Ti is DeiT-Ti with joint space-time attention whose matrix is materialised. Memory is
the growth of what the allocator reserved, so without weights and clips; from 24 frames on
TimeSformer-Ti ran at a smaller batch, and its memory is scaled to 128 clips. Throughput is at the
batch that ran.
"""

import functools
from importlib import resources
from typing import Final

import pandas as pd

SOURCE: Final = (
    "VideoMamba, arXiv 2403.06977, Figure 1, read off the figure to about 2 %; "
    "A100 80 GB, bf16 autocast, reserved memory scaled to a batch of 128"
)
CLAIM_FRAMES: Final = 64
CLAIMED_MEMORY_RATIO: Final = 40.0
CLAIMED_THROUGHPUT_RATIO: Final = 6.0
BASELINE: Final = "timesformer_tiny_joint"
CHALLENGER: Final = "videomamba_tiny"
DIVIDED: Final = "timesformer_tiny"


@functools.cache
def figure1() -> pd.DataFrame:
    """The points, a row each.

    `memory_per_clip_bytes` undoes the scaling to 128 clips, so that it can stand beside any batch.
    """
    table = resources.files("vbench.report") / "published" / "figure1.csv"
    with table.open(encoding="utf-8") as file:
        points = pd.read_csv(file, keep_default_na=False)
    memory = points["memory_gib"] * 2**30 / points["batch_scaled_to"]
    return points.assign(memory_per_clip_bytes=memory)


def published_ratio(column: str) -> float:
    """TimeSformer-Ti's memory, or VideoMamba-Ti's throughput, over the other's at 64 frames."""
    at = figure1()[figure1()["num_frames"] == CLAIM_FRAMES].set_index("model")[column]
    ratio = float(at[BASELINE] / at[CHALLENGER])
    return ratio if column.startswith("memory") else 1 / ratio
