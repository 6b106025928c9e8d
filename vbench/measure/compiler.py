"""What `torch.compile` needs of the machine, and how it is kept safe in a forked process."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vbench.core.errors import UnavailableError

CXX: Final = "g++"
C_COMPILERS: Final = ("gcc", "clang", "cc")


def cpp_compiler() -> str | None:
    """Path of the C++ compiler that torch would take, None if it is not there."""
    return shutil.which(os.environ.get("CXX") or CXX)


def c_compiler() -> str | None:
    """Path of the C compiler that Triton would take, None if there is none."""
    named = os.environ.get("CC")
    found = (shutil.which(name) for name in ([named] if named else C_COMPILERS))
    return next((path for path in found if path), None)


def require_compiler(device_type: str) -> None:
    """Say early that nothing can be compiled for a device.

    Raises:
        UnavailableError: The compiler that torch or Triton calls is not there.
    """
    if device_type == "cpu" and cpp_compiler() is None:
        wanted = os.environ.get("CXX") or CXX
        raise UnavailableError(
            f"torch.compile needs a C++ compiler on a CPU, which is not here: {wanted}",
            hint="install g++, or name another compiler in CXX",
        )
    if device_type == "cuda" and c_compiler() is None:
        raise UnavailableError(
            f"Triton needs a C compiler, none is here of: {', '.join(C_COMPILERS)}",
            hint="install gcc, or name another compiler in CC",
        )


def keep_code_in(folder: Path) -> None:
    """Have torch keep what it compiles there, unless the user has named a place.

    In an empty folder the time to compile does not depend on what was compiled before.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def prepare() -> None:
    """Set torch's compiler up for one measuring process.

    It compiles in this process: its pool of processes would be forked from one that was forked
    itself, and would outlive it. Beyond its limit of recompilations it raises instead of running
    uncompiled without a word.
    """
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor

    inductor.compile_threads = 1
    if hasattr(dynamo, "fail_on_recompile_limit_hit"):  # since torch 2.7
        dynamo.fail_on_recompile_limit_hit = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Compilations:
    """What torch's compiler has done in this process.

    Attributes:
        num_frames: Functions compiled, one again as often as it was.
        graph_breaks: How often a graph had to end, by the reason's first line.
    """

    num_frames: int
    graph_breaks: dict[str, int]


def compilations() -> Compilations:
    """Count up to now."""
    from torch._dynamo.utils import counters

    breaks: dict[str, int] = {}
    for reason, count in counters["graph_break"].items():
        line = str(reason).strip().partition("\n")[0]
        breaks[line] = breaks.get(line, 0) + count
    return Compilations(num_frames=counters["frames"]["total"], graph_breaks=breaks)
