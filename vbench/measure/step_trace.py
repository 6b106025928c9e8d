"""What one step runs: operators and kernels by name, their time, how often they are launched.

torch's profiler tells it where it matters: on CUDA, and of compiled code. An uncompiled step on a
CPU is followed operator by operator in Python instead, because there the two say the same and the
profiler keeps every event: 2 GB and 15 s for a step of a million small operators.
"""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity
from torch.utils._python_dispatch import TorchDispatchMode

Step = Callable[[], object]

ATTENTION: Final = "aten::scaled_dot_product_attention"
FUSED_ATTENTION: Final = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "cpu flash",
}
MATH_ATTENTION: Final = "aten::_scaled_dot_product_attention_math"
ZOO: Final = "model_zoo::"
LAUNCHES: Final = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchCooperativeKernel")
GRAPH_LAUNCH: Final = "cudaGraphLaunch"
NOT_KERNELS: Final = ("Memcpy", "Memset")
GENERATED: Final = ("## Call CompiledFxGraph", "Torch-Compiled Region")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTrace:
    """One step.

    Attributes:
        operators: Calls of each operator, those of torch's attention under the kernel it chose.
        seconds: Time of each kernel on CUDA, of each operator less those inside it on a CPU. What
            is inside one of the zoo's operators or of fused attention counts as theirs.
        calls: How often each of them ran.
        num_launches: Kernels the host launched, a replayed CUDA graph as one; None on a CPU.
    """

    operators: Mapping[str, int]
    seconds: Mapping[str, float]
    calls: Mapping[str, int]
    num_launches: int | None = None


class ProfilerUnavailableError(Exception):
    """torch's profiler cannot run here, or saw nothing of the device."""


def follow(step: Step) -> StepTrace:
    """Run `step`, uncompiled, and see its operators in Python. It needs no profiler."""
    followed = _Operators()
    with _AttentionCalls() as attention, followed:
        step()
    operators = Counter(followed.calls)
    num_math = attention.count - sum(operators[name] for name in FUSED_ATTENTION)
    if num_math > 0:
        operators[MATH_ATTENTION] = num_math
    return StepTrace(operators=operators, seconds=followed.seconds, calls=followed.calls)


class _AttentionCalls(TorchFunctionMode):
    """Counts calls of torch's attention, which below may be taken apart into matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += function is torch.nn.functional.scaled_dot_product_attention
        return function(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Times operators that are not made of others."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:  # without gradients torch takes operators apart only below this place
            parts = function.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        start = time.perf_counter()
        result = function(*args, **kwargs)
        name = function._schema.name
        self.seconds[name] += time.perf_counter() - start
        self.calls[name] += 1
        return result


class Event(Protocol):
    """What is read of an event of the profiler."""

    def name(self) -> str:
        """Of the operator, kernel or call of the runtime."""

    def device_type(self) -> Any:
        """Where it ran."""

    def start_ns(self) -> int:
        """When it began."""

    def end_ns(self) -> int:
        """When it ended."""

    def start_thread_id(self) -> int:
        """Thread of the host it began on."""

    def is_user_annotation(self) -> bool:
        """Whether it is a named region and no work."""


def profile(step: Step, *, device_type: str, synchronize: Callable[[], None]) -> StepTrace:
    """Run `step` under torch's profiler.

    Raises:
        ProfilerUnavailableError: It is not there, or the driver does not let it see kernels.
    """
    is_cuda = device_type == "cuda"
    wanted = {ProfilerActivity.CPU} | ({ProfilerActivity.CUDA} if is_cuda else set())
    if not wanted <= torch.profiler.supported_activities():
        raise ProfilerUnavailableError("this build of torch has no profiler of the device")
    profiler = torch.profiler.profile(activities=wanted)
    with _started(profiler):
        step()
        synchronize()
    # Not `profiler.events()`, which builds a tree in Python: seconds for a training step
    found = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    trace = read_events(found, is_cuda=is_cuda)
    if is_cuda and not trace.calls:
        raise ProfilerUnavailableError("the profiler saw no kernel; the driver may forbid it")
    return trace


@contextlib.contextmanager
def _started(profiler: torch.profiler.profile) -> Iterator[None]:
    try:
        profiler.start()
    except RuntimeError as error:
        raise ProfilerUnavailableError(str(error).partition("\n")[0]) from None
    try:
        yield
    finally:
        profiler.stop()


@dataclass(slots=True)
class _Tally:
    nanoseconds: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)


def read_events(events: Iterable[Event], *, is_cuda: bool) -> StepTrace:
    """Sum up what the profiler recorded."""
    host, kernels = [], _Tally()
    num_launches = 0
    for event in events:
        name = event.name()
        if event.device_type().name == "CPU":
            num_launches += name.startswith((*LAUNCHES, GRAPH_LAUNCH))
            host.append(event)
        elif not event.is_user_annotation() and not name.startswith(NOT_KERNELS):
            kernels.nanoseconds[name] += event.end_ns() - event.start_ns()
            kernels.calls[name] += 1
    operators = _self_times(host)
    shown = kernels if is_cuda else operators
    return StepTrace(
        operators={name: n for name, n in operators.calls.items() if "::" in name},
        seconds={name: value / 1e9 for name, value in shown.nanoseconds.items()},
        calls=shown.calls,
        num_launches=num_launches if is_cuda else None,
    )


def _self_times(events: Iterable[Event]) -> _Tally:
    """Time of each event less that of the events inside it, thread by thread."""
    tally = _Tally()
    stacks: dict[int, list[tuple[str, int]]] = {}  # (name, end), the innermost last
    for event in sorted(events, key=lambda one: (one.start_ns(), -one.end_ns())):
        start, end = event.start_ns(), event.end_ns()
        stack = stacks.setdefault(event.start_thread_id(), [])
        while stack and stack[-1][1] <= start:
            stack.pop()
        if stack and is_whole(stack[-1][0]):
            continue
        if stack:
            tally.nanoseconds[stack[-1][0]] -= end - start
        name = event.name()
        name = "generated code" if name.startswith(GENERATED) else name
        stack.append((name, end))
        tally.nanoseconds[name] += end - start
        tally.calls[name] += 1
    return tally


def is_whole(name: str) -> bool:
    """Whether what an operator runs inside is its own affair."""
    return name.startswith(ZOO) or name in FUSED_ATTENTION
