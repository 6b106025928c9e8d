"""Child processes that cannot outlive their parent, and what is left of them."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from vbench.core.errors import VbenchError

Task = TypeVar("Task")
Result = TypeVar("Result")

LOG_TAIL_BYTES = 8000
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def worker_environment() -> dict[str, str]:
    """Variables of measuring processes.

    Idle OpenMP threads sleep: spinning ones took a factor of five from a block on a busy
    two-core machine. NumPy's own threads are not started, because a process with threads should
    not fork. A value that the user has set is kept.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"} | os.environ


def kill_group(pid: int) -> None:
    """Kill a process and all that it started, if they are still there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Not yet the leader of its own group, or already gone.
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def num_oom_kills() -> int:
    """Processes the kernel has killed for memory since boot; 0 where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))


def mapped(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, num_workers: int | None = None
) -> Iterator[Result]:
    """Results of a function over processes of its own, in the order of the tasks.

    They are spawned, because a forked process would share the threads of whoever asks.

    Raises:
        VbenchError: One of them was killed.
    """
    if not tasks:
        return
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
    from multiprocessing import get_context

    try:
        with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(function, tasks, chunksize=8)
    except BrokenProcessPool:
        raise VbenchError(
            "a worker process was killed", hint="the same command goes on; is there memory enough?"
        ) from None


def tail(path: Path) -> str:
    """The last few kilobytes of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LOG_TAIL_BYTES, 0))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_if_written(path: Path) -> bytes | None:
    """The outcome file's bytes, or None if there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return None
