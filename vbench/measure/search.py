"""The largest batch that fits, found with few trials."""

from collections.abc import Callable

LIMIT = 1 << 20


def largest_fitting(fits: Callable[[int], bool], *, guess: int = 1) -> int:
    """The largest size for which `fits` holds, assuming that less always fits; 0 if none does.

    Brackets the answer around `guess` by doubling or halving, then bisects.

    >>> largest_fitting(lambda size: size <= 37, guess=20)
    37
    """
    low, high = _bracket(fits, max(guess, 1))
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _bracket(fits: Callable[[int], bool], size: int) -> tuple[int, int]:
    """A size that fits (or 0) and a larger one that does not."""
    if fits(size):
        while size < LIMIT:
            if not fits(2 * size):
                return size, 2 * size
            size *= 2
        return size, size + 1
    while size > 1:
        half = size // 2
        if fits(half):
            return half, size
        size = half
    return 0, 1
