"""Executors: each file runs one request in a process of its own and says how it ended."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from vbench.core.registry import Registry
from vbench.measure.request import Request


class Ending(Struct, frozen=True, kw_only=True):
    """How a worker process ended.

    Attributes:
        exit_code: As ``subprocess`` gives it: negative for a signal; None after a timeout.
        outcome: What it had written, if anything.
        log: The end of what it printed.
        out_of_host_memory: Whether the kernel killed processes for memory meanwhile.
    """

    exit_code: int | None
    outcome: bytes | None
    log: str
    out_of_host_memory: bool = False


class Executor(Protocol):
    """Runs requests one after the other, so that none disturbs another's timing."""

    def run(self, request: Request, *, timeout_s: float) -> Ending:
        """Run one request to its end, whatever that is; kills it after `timeout_s`."""

    def close(self) -> None:
        """End every process that is left."""


EXECUTORS: Registry[Callable[[], Executor]] = Registry("executor", package=__name__)
