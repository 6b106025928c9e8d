"""Large results in huge pages, where the system offers them on request.

An allocation that malloc never keeps for the next one comes from the system as untouched pages, and
each of these costs a fault at its first write: 4 KiB at a time that is dearer than a convolution.
Torch asks for huge pages itself, for all memory, if THP_MEM_ALLOC_ENABLE=1 is in the environment.
"""

import ctypes
import functools
import mmap
from typing import Any, Final

from torch import Tensor

LARGE_BYTES: Final = 2**25  # from here on malloc of the GNU C library keeps nothing
HUGE_PAGE_BYTES: Final = 2**21


def in_huge_pages(x: Tensor) -> Tensor:
    """Ask for huge pages for what has just been allocated and not been written; `x` comes back."""
    madvise = _madvise()
    if madvise is not None and x.device.type == "cpu" and x.nbytes >= LARGE_BYTES:
        start = -(-x.data_ptr() // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        num_pages = (x.data_ptr() + x.nbytes - start) // HUGE_PAGE_BYTES
        madvise(start, num_pages * HUGE_PAGE_BYTES, mmap.MADV_HUGEPAGE)  # in vain, if need be
    return x


@functools.cache
def _madvise() -> Any:
    """The system's function, None where there is none or no huge pages."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None:
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return madvise
