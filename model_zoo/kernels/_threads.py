"""Tasks of compiled code on all of torch's threads; Python's lock is free while they run.

The threads are Python's own and stay for the next call. A forked process has none of its parent's
and starts its own at its first call.
"""

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


def run_tasks(tasks: Iterable[Callable[[], object]]) -> None:
    """Run every task, in no order, on the calling thread and `torch.get_num_threads()` - 1 more."""
    waiting = deque(tasks)
    num_helpers = min(torch.get_num_threads(), len(waiting)) - 1
    if num_helpers > 0:
        pool = _pool(torch.get_num_threads() - 1, os.getpid())
        helpers = [pool.submit(_drain, waiting) for _ in range(num_helpers)]
    else:
        helpers = []
    try:
        _drain(waiting)
    finally:
        for helper in helpers:
            helper.result()


def _drain(waiting: deque[Callable[[], object]]) -> None:
    while True:
        try:
            task = waiting.popleft()
        except IndexError:
            return
        task()


@functools.lru_cache(maxsize=1)
def _pool(num_threads: int, process_id: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="model_zoo")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on the calling thread alone; also a decorator.

    For sequences of many small ones, between which waking the other threads takes longer than they
    save: a chunked scan on two threads took twice the time of one.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
