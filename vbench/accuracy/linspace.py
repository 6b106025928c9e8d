"""Evenly spaced points as PyTorch computes them, without PyTorch: decoding processes do without."""

import numpy as np


def linspace(first: float, last: float, count: int) -> list[float]:
    """`count` evenly spaced points with both ends, as ``torch.linspace`` computes them.

    That is in single precision and from each end to the middle; the points are truncated next, so
    that the last bit matters.
    """
    if count == 1:
        return [float(first)]
    start, end = np.float32(first), np.float32(last)
    step = (end - start) / np.float32(count - 1)
    rising = np.arange(count // 2, dtype=np.float32)
    falling = np.arange(count - count // 2, dtype=np.float32)[::-1]
    points: list[float] = [*(start + step * rising).tolist(), *(end - step * falling).tolist()]
    return points


def truncated(position: float, length: int) -> int:
    """The index at or before a position, inside [0, length)."""
    return int(min(max(position, 0), length - 1))
