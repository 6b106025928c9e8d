"""Independent tasks on all of torch's threads, each in one of them.

For compiled code, and for sequences of small operators: torch's own way, to share out each of them,
makes such a sequence slower. Python's lock is free while either computes.

The threads are Python's own and stay for the next call. A forked process has none of its parent's
and starts its own at its first call.
"""

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

Task = Callable[[], object]


def run_tasks(tasks: Iterable[Task], *, device: torch.device | None = None) -> None:
    """Run every task, in no order, on the calling thread and `torch.get_num_threads()` - 1 more.

    Within a task torch has one thread, so that tasks may run tasks, and records no gradients,
    whatever it does around the call: those states are a thread's own. What a task returns is lost
    and what it allocates stays behind; results go into memory of the caller's.

    Args:
        device: Of the operands. If that is no CPU, tasks run on the calling thread alone, where
            the current stream is.
    """
    waiting = deque(tasks)
    num_threads = torch.get_num_threads() if device is None or device.type == "cpu" else 1
    with one_thread():
        helpers = _start(waiting, num_threads) if min(num_threads, len(waiting)) > 1 else []
        try:
            _drain(waiting)
        finally:
            for helper in helpers:
                if not helper.cancel():
                    helper.result()


def _start(waiting: deque[Task], num_threads: int) -> list[Future[None]]:
    pool = _pool(num_threads - 1, os.getpid())
    helpers: list[Future[None]] = []
    # An interpreter that shuts down starts no threads: the caller is then alone
    with contextlib.suppress(RuntimeError):
        for _ in range(min(num_threads, len(waiting)) - 1):
            helpers.append(pool.submit(_help, waiting))
    return helpers


def _help(waiting: deque[Task]) -> None:
    # Torch also remembers the number for threads to come; the caller sets that back
    torch.set_num_threads(1)
    _drain(waiting)


def _drain(waiting: deque[Task]) -> None:
    with torch.inference_mode():
        while True:
            try:
                task = waiting.popleft()
            except IndexError:
                return
            try:
                task()
            except BaseException:
                waiting.clear()
                raise


@functools.lru_cache(maxsize=1)
def _pool(num_threads: int, process_id: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="model_zoo")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on the calling thread alone; also a decorator.

    For sequences of many small ones, between which waking the other threads takes longer than they
    save.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def added_in_order(parts: Tensor) -> Tensor:
    """The sum over the first axis, one task's part after another, in memory of its own."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total
