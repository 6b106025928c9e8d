"""Memory, traffic and least time of a step, without a device and at any size.

Left out of the memory: what the allocator reserves beyond what is allocated, the workspaces of
cuBLAS (32 MiB on Hopper, 8 MiB before) and cuDNN, and what kernels take inside of a call.
"""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
import torch

from vbench.core.types import Case
from vbench.measure.estimate.ledger import Kind, Ledger
from vbench.measure.estimate.roofline import Roofline
from vbench.measure.estimate.stand_in import CudaStandIn
from vbench.measure.estimate.tracker import StepTracker
from vbench.measure.hardware import Gpu, named
from vbench.measure.subject import DTYPES, Subject, build


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What one step of a subject would take on a GPU.

    Attributes:
        peak_bytes: Most bytes alive at once, in units of torch's allocator.
        at_peak: These by what they are for. Weights include the copies that autocast keeps; state
            is the optimizer's, with its temporaries; activations are all else, gradients too.
        activation_bytes: Most of these last alive at once.
        latency_s: Least time by the roofline of `gpu`; None where a peak is unknown.
        seconds_by_bound: The time by what bounds each kernel.
        seconds_by_operator: The time by operator.
        attention_kernels: Which kernels attention was taken to run on, and how often.
        missing_peak: Why there is no latency.
    """

    gpu: Gpu
    peak_bytes: int
    at_peak: Mapping[Kind, int]
    activation_bytes: int
    moved_bytes: int
    num_kernels: int
    latency_s: float | None
    seconds_by_bound: Mapping[str, float]
    seconds_by_operator: Mapping[str, float]
    attention_kernels: Mapping[str, int]
    missing_peak: str | None


def estimate(subject: Subject) -> Estimate:
    """Follow one step of a subject on the meta device.

    A training step is followed the second time it runs: then the optimizer has its state.

    Raises:
        UsageError: The GPU is not known, or the attention kernel asked for cannot run.
    """
    case, model = subject.case, subject.model
    gpu = named(case.gpu)
    ledger = Ledger()
    ledger.mark([*model.parameters(), *model.buffers()], "weights")
    ledger.mark([subject.clips], "clips")
    tracker = StepTracker(ledger, Roofline(gpu=gpu, allow_tf32=case.precision == "tf32"))
    cuda = CudaStandIn(DTYPES[case.precision] if case.autocast else None, ledger)
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if case.mode == "training":
            tracker.is_idle = True
            _run(subject, cuda, tracker)
            _settle(subject, ledger)
            cuda.attention.used.clear()
            tracker.is_idle = False
            tracker.begin()
        _run(subject, cuda, tracker)
    return Estimate(
        gpu=gpu,
        peak_bytes=ledger.peak_bytes,
        at_peak=ledger.at_peak,
        activation_bytes=ledger.activation_peak_bytes,
        moved_bytes=tracker.moved_bytes,
        num_kernels=tracker.num_kernels,
        latency_s=None if tracker.missing_peak else sum(tracker.seconds_by_bound.values()),
        seconds_by_bound=dict(tracker.seconds_by_bound.most_common()),
        seconds_by_operator=dict(tracker.seconds_by_operator.most_common()),
        attention_kernels=dict(cuda.attention.used),
        missing_peak=tracker.missing_peak,
    )


def _run(subject: Subject, cuda: CudaStandIn, tracker: StepTracker) -> None:
    with cuda.active(), tracker:
        subject.step()


def _settle(subject: Subject, ledger: Ledger) -> None:
    """Tell apart what a training step leaves behind: gradients, the loss, the optimizer's state."""
    ledger.mark_rest("state")
    gradients = [p.grad for p in subject.model.parameters() if p.grad is not None]
    ledger.mark(gradients, "activations")


def estimated_peak_bytes(case: Case, batch_size: int) -> int:
    """Most bytes that a step of `case` at `batch_size` has alive at once.

    Raises:
        ZooError: No such model, or it cannot take the clip.
        UsageError: The mode or the attention kernel cannot run.
    """
    on_meta = msgspec.structs.replace(case, device="meta", gpu=None, compile=False, cudagraph=False)
    return estimate(build(on_meta, batch_size)).peak_bytes
