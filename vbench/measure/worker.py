"""The measuring process: one request in, one outcome out to a file. Prints nothing of its own.

The outcome goes to a file named by the parent, not to stdout, because libraries print; and it is
rewritten after each probe, so that whatever was finished survives any ending.
"""

import contextlib
import importlib
import resource
import sys
import traceback
from pathlib import Path
from typing import Final

import msgspec
import torch

from model_zoo import ZooError
from vbench.core import processes
from vbench.core.errors import VbenchError
from vbench.core.types import Case, ClipSpec, Environment, Measurement, Outcome, Status
from vbench.measure import compiler, environment, subject, system
from vbench.measure import device as devices
from vbench.measure.probes import PROBES, Probe, Samples
from vbench.measure.request import Inspection, LargestBatch, Request

MEMORY_SHARE = 0.95  # of what the machine has free; the rest is for the system


def serve(request: Request) -> None:
    """Do what `request` asks and write the outcome."""
    path = Path(request.outcome_path)
    if request.task == "inspect":
        write(path, inspect())
    elif request.task == "largest_batch":
        write(path, largest_batch(request))
    else:
        measure(request, path)


def write(path: Path, value: msgspec.Struct) -> None:
    """Replace the outcome in one step."""
    partial = path.with_suffix(".part")
    partial.write_bytes(msgspec.json.encode(value))
    partial.replace(path)


def measure(request: Request, path: Path) -> None:
    """Run the probes of one case; any exception becomes the outcome's status and error."""
    case = request.case
    assert case is not None
    progress = _Progress(case, path)
    try:
        torch.set_num_threads(system.num_usable_cpus())
        if case.device == "cpu":
            limit_memory()
        if case.compile:
            compiler.keep_code_in(path.parent / "compiled")  # the parent removes it
        progress.environment = environment.capture(case.device)
        batch_size = request.batch_size or case.batch_size
        assert isinstance(batch_size, int)
        progress.batch_size = batch_size
        progress.finish("error", "the worker ended while building the model")
        progress.phase = "building the model"
        built = subject.build(case, batch_size)
        for probe in chosen_probes(case, request.probes):
            progress.phase = f"probe {probe.name}"
            progress.add(probe, probe.run(built))
        progress.finish("ok")
    except (ZooError, VbenchError) as error:
        hint = f" ({error.hint})" if error.hint else ""
        progress.finish("unsupported", f"{error}{hint}")
    except Exception as error:  # the one boundary where anything becomes a record
        traceback.print_exc()
        status: Status = "oom" if is_out_of_memory(error) else "error"
        progress.finish(status, f"{progress.phase}: {_first_line(error)}")


class _Progress:
    """The outcome as far as it has come, on disk after every step."""

    def __init__(self, case: Case, path: Path) -> None:
        self.case = case
        self.path = path
        self.phase = "starting"
        self.batch_size: int | None = None
        self.environment: Environment | None = None
        self.measurements: list[Measurement] = []
        self.notes: dict[str, str] = {}

    def add(self, probe: Probe, samples: Samples) -> None:
        """Keep what a probe found."""
        kinds = {metric.name: metric.kind for metric in probe.metrics}
        undeclared = samples.values.keys() - kinds.keys()
        if undeclared:
            raise RuntimeError(f"probe {probe.name} yields undeclared metrics: {undeclared}")
        self.measurements += [
            Measurement(metric=name, kind=kinds[name], values=tuple(map(float, values)))
            for name, values in samples.values.items()
        ]
        self.notes.update(samples.notes)
        # Whatever ends this process before the next write did so after `phase`.
        self.finish("error", f"the worker ended after {self.phase}")

    def finish(self, status: Status, error: str | None = None) -> None:
        """Write the outcome with this status."""
        outcome = Outcome(
            status=status,
            measurements=tuple(self.measurements),
            environment=self.environment,
            batch_size=self.batch_size,
            notes=self.notes,
            error=error,
        )
        write(self.path, outcome)


def chosen_probes(case: Case, names: tuple[str, ...]) -> list[Probe]:
    """The probes that run on the case's device, in order: named, ``all``, or the default ones.

    Raises:
        UsageError: No probe has such a name.
    """
    device = case.device.partition(":")[0]
    if names == ("all",):
        probes = [PROBES[name] for name in PROBES]
    elif names:
        probes = [PROBES[name] for name in names]
    else:
        probes = [probe for probe in map(PROBES.__getitem__, PROBES) if probe.default]
    return sorted((p for p in probes if device in p.devices), key=lambda probe: probe.order)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "not enough memory" in text or "out of memory" in text
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def limit_memory() -> None:
    """Make an allocation beyond the machine's free memory fail here, as it does on a GPU.

    Without it the kernel kills some process of the machine once memory is gone.
    """
    available = system.available_bytes()
    data = devices.data_bytes()
    if available is None or data is None:
        return
    limit = data + int(available * MEMORY_SHARE)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def inspect() -> Inspection:
    """Describe the machine as torch sees it."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    return Inspection(
        torch=str(torch.__version__),
        cuda_version=torch.version.cuda,
        devices=tuple(p.name for p in properties),
        memory_bytes=tuple(p.total_memory for p in properties),
        compute_capabilities=tuple(f"{p.major}.{p.minor}" for p in properties),
        triton=environment.package_version("triton"),
        num_cpus=system.num_usable_cpus(),
        cpu_model=system.cpu_model(),
    )


def largest_batch(request: Request) -> LargestBatch:
    """Find the most clips whose estimated peak fits, by doubling and bisection."""
    from vbench.measure.estimate import estimated_peak_bytes
    from vbench.measure.search import largest_fitting

    case, limit = request.case, request.memory_bytes
    assert case is not None
    assert limit is not None
    peaks: dict[int, int] = {}

    def fits(batch_size: int) -> bool:
        peaks[batch_size] = estimated_peak_bytes(case, batch_size)
        return peaks[batch_size] <= limit

    try:
        best = largest_fitting(fits)
    except (ZooError, VbenchError) as error:
        return LargestBatch(batch_size=0, estimated_bytes=0, error=str(error))
    return LargestBatch(batch_size=best, estimated_bytes=peaks.get(best, peaks.get(1, 0)))


def warm_up_meta() -> None:
    """Load what torch imports at its first operations on ``meta``: two seconds, then never again.

    Any small transformer will do.
    """
    clip = ClipSpec(num_frames=2, height_px=32, width_px=32)
    case = Case(
        model="timesformer_tiny",
        clip=clip,
        batch_size=1,
        precision="bf16",
        autocast=True,
        device="meta",
    )
    built = subject.build(case, 1)
    for probe in chosen_probes(case, ()):
        probe.run(built)


def warm_up_cpu() -> None:
    """Load the compiler of the native kernels, where it is installed; it compiles in the child."""
    with contextlib.suppress(ImportError):
        importlib.import_module("llvmlite.binding")


# What the fork server does once, before the first worker on a device.
WARM_UPS: Final = {"meta": warm_up_meta, "cpu": warm_up_cpu}


def main() -> None:
    """Serve the request on stdin: the whole of ``--isolation fresh``."""
    processes.die_with_parent()
    serve(msgspec.json.decode(sys.stdin.buffer.readline(), type=Request))


if __name__ == "__main__":
    main()
