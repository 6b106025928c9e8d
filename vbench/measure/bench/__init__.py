"""`vbench bench kernels`: each of the zoo's kernels beside its reference, its floor and its peers.

This times in the process that calls it: forms are compared within a round, not with other runs.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
import torch

from vbench.core.bench import BENCH_SCHEMA_VERSION, KernelRecord
from vbench.core.errors import UnavailableError, UsageError
from vbench.measure import environment, system
from vbench.measure.bench import other_kernels, selective_scan, selective_scan_backward
from vbench.measure.bench.interleave import Form, Timer, device_timer, host_timer, interleave
from vbench.measure.device import open_device

NUM_ROUNDS: Final = 30
QUICK_ROUNDS: Final = 6
VIDEO_TOKENS: Final = (1569, 3137, 12545)  # 8, 16 and 64 frames of 224 pixels
ENDS: Final = (VIDEO_TOKENS[0], VIDEO_TOKENS[-1])

Sizes = Mapping[str, int]
MakeForms = Callable[[Sizes, torch.device], dict[str, Form]]
Clock = Literal["cpu", "wall", "cuda"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelBench:
    """A kernel: how its forms are made, and the sizes it is timed at, quickly or whole."""

    forms: MakeForms
    sizes: tuple[Sizes, ...]
    quick_sizes: tuple[Sizes, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One kernel at one size, on so many threads."""

    kernel: str
    sizes: Sizes
    num_threads: int

    def __str__(self) -> str:
        batch, tokens = self.sizes["batch"], self.sizes["num_tokens"]
        return f"{self.kernel}, batch {batch}, {tokens} tokens, threads: {self.num_threads}"


def _grid(batches: tuple[int, ...], tokens: tuple[int, ...], **others: int) -> tuple[Sizes, ...]:
    return tuple({"batch": b, "num_tokens": t} | others for b in batches for t in tokens)


KERNELS: Final[dict[str, KernelBench]] = {
    "selective_scan": KernelBench(
        forms=selective_scan.forms,
        sizes=_grid((1,), VIDEO_TOKENS, num_channels=384, num_states=16)
        + _grid((4,), ENDS, num_channels=384, num_states=16),
        quick_sizes=_grid((1,), VIDEO_TOKENS, num_channels=384, num_states=16),
    ),
    "selective_scan_backward": KernelBench(
        forms=selective_scan_backward.forms,
        sizes=_grid((1,), VIDEO_TOKENS[:2], num_channels=384, num_states=16),
        quick_sizes=_grid((1,), VIDEO_TOKENS[:1], num_channels=384, num_states=16),
    ),
    "causal_conv1d": KernelBench(
        forms=other_kernels.conv_forms,
        sizes=_grid((1,), VIDEO_TOKENS, num_channels=384) + _grid((4,), ENDS, num_channels=384),
        quick_sizes=_grid((1,), VIDEO_TOKENS, num_channels=384),
    ),
    "attention": KernelBench(
        forms=other_kernels.attention_forms,
        sizes=_grid((1,), VIDEO_TOKENS[:2], num_heads=3, num_channels=64),
        quick_sizes=_grid((1,), VIDEO_TOKENS[:1], num_heads=3, num_channels=64),
    ),
    "bi_wkv": KernelBench(
        forms=other_kernels.bi_wkv_forms,
        sizes=_grid((1, 8), (196,), num_channels=192) + _grid((1,), (784,), num_channels=192),
        quick_sizes=_grid((1,), (196, 392), num_channels=192),
    ),
    "bi_wkv_matrix": KernelBench(
        forms=other_kernels.bi_wkv_matrix_forms,
        sizes=_grid((1, 4), (196,), num_heads=6, num_channels=64)
        + _grid((1,), (1568,), num_heads=6, num_channels=64),
        quick_sizes=_grid((1,), (196, 1568), num_heads=6, num_channels=64),
    ),
}


def points(kernels: tuple[str, ...], *, threads: Sequence[int] = (1,), quick: bool) -> list[Point]:
    """What will be timed, on each number of threads.

    Raises:
        UsageError: There is no such kernel.
    """
    for name in kernels:
        if name not in KERNELS:
            raise UsageError(f"unknown kernel: {name}", hint=f"known: {', '.join(KERNELS)}")
    return [
        Point(kernel=name, sizes=sizes, num_threads=num_threads)
        for num_threads in threads
        for name in kernels or tuple(KERNELS)
        for sizes in (KERNELS[name].quick_sizes if quick else KERNELS[name].sizes)
    ]


def run(asked: list[Point], *, device: str, quick: bool) -> Iterator[KernelRecord]:
    """Time every point and hand it over as it is done.

    Raises:
        UnavailableError: There is no CUDA device.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UnavailableError(
            f"no such device here: {device}", hint="`vbench doctor` tells what can be measured"
        )
    # These records are published; the machine's name is nobody's
    where = msgspec.structs.replace(environment.capture(device), hostname=None)
    for point in asked:
        torch.set_num_threads(point.num_threads)
        clock, timer = clock_of(device, point.num_threads)
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        with torch.inference_mode():
            forms = KERNELS[point.kernel].forms(point.sizes, torch.device(device))
            contenders = interleave(
                forms, num_rounds=QUICK_ROUNDS if quick else NUM_ROUNDS, timer=timer
            )
        yield KernelRecord(
            schema_version=BENCH_SCHEMA_VERSION,
            started_at_utc=started_at,
            kernel=point.kernel,
            sizes=dict(point.sizes),
            device=device,
            num_threads=point.num_threads,
            clock=clock,
            contenders=contenders,
            environment=where,
        )


def clock_of(device: str, num_threads: int) -> tuple[Clock, Timer]:
    """CUDA's events; of one thread its CPU time, which other work disturbs least; else the wall."""
    if device.startswith("cuda"):
        return "cuda", device_timer(open_device(device))
    if num_threads == 1:
        return "cpu", host_timer(time.process_time)
    return "wall", host_timer(time.perf_counter)


def chosen_device(name: str) -> str:
    """The device that ``auto`` stands for here."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def most_threads() -> int:
    """How many this process may use."""
    return system.num_usable_cpus()
