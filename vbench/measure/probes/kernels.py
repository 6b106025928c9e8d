"""Which kernels a step runs: a comparison of models is one of kernels too."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from importlib import import_module
from operator import itemgetter
from typing import Final

from model_zoo.kernels import forms
from vbench.core.metrics import Metric
from vbench.core.types import Case
from vbench.measure import step_trace
from vbench.measure.device import open_device
from vbench.measure.probes import Samples, probe
from vbench.measure.step_trace import (
    FUSED_ATTENTION,
    MATH_ATTENTION,
    ZOO,
    ProfilerUnavailableError,
    StepTrace,
)
from vbench.measure.subject import Subject

_MOST_KERNELS: Final = 12
_LONGEST_NAME: Final = 120
# What a kernel of a replayed CUDA graph is known by: no operator is called there
_KERNEL_NAMES: Final = {
    "flash_fwd": "flash",
    "fmha_cutlass": "efficient",
    "sdpa": "cudnn",
}
BACKWARD: Final = "_backward"
_BACKWARD_KERNELS: Final = (BACKWARD, "flash_bwd", "cutlassB", "bprop")


@probe(
    Metric(
        name="num_kernel_launches",
        kind="measured",
        better="lower",
        describe="kernels that the host launches in a step; a replayed CUDA graph is one",
        is_repeatable=True,
    ),
    devices=("cpu", "cuda"),
    order=25,
)
def kernels(subject: Subject) -> Samples:
    """Follow one more step, apart from timing; the numbers are of that step alone."""
    case = subject.case
    if not case.cudagraph:  # which calls no operator: what ran when it was captured holds
        forms.forget()
    device_type = case.device.partition(":")[0]
    notes = {}
    if device_type == "cpu" and not case.compile:
        trace = step_trace.follow(subject.step)
    else:
        try:
            trace = step_trace.profile(
                subject.step,
                device_type=device_type,
                synchronize=open_device(case.device).synchronize,
            )
        except ProfilerUnavailableError as error:
            notes["profiler"] = f"not available: {error}"
            if case.compile or case.cudagraph:  # nothing of it passes through Python
                return Samples(values={}, notes=notes)
            # Times of calls on CUDA are the host's, and so is nothing said of kernels
            followed = step_trace.follow(subject.step)
            trace = StepTrace(operators=followed.operators, seconds={}, calls={})
    values = {} if trace.num_launches is None else {"num_kernel_launches": [trace.num_launches]}
    return Samples(values=values, notes=notes | describe(trace, case, forms.that_ran()))


def describe(trace: StepTrace, case: Case, noted: Mapping[str, str]) -> dict[str, str]:
    """What a trace says, as notes; those in words are shown, those in JSON are for programs.

    Args:
        noted: Forms of the zoo's operators, as they said themselves.
    """
    attention = attention_kernels(trace)
    operators = zoo_operators(trace, case.device, noted)
    words = [*_attention_in_words(attention, case), *_operators_in_words(operators)]
    notes = {"kernels": ", ".join(words)} if words else {}
    if attention:
        notes["attention_kernels"] = json.dumps(attention)
    if operators:
        notes["operator_implementations"] = json.dumps(operators)
    fallback = attention_fallback(attention, case.attention)
    if fallback:
        notes["attention fallback"] = fallback
    if trace.seconds:
        notes |= _by_kernel(trace)
    return notes


def attention_kernels(trace: StepTrace) -> dict[str, int]:
    """Torch's attention kernels and how often each ran forward."""
    names = FUSED_ATTENTION | {MATH_ATTENTION: "math"}
    found = Counter({names[o]: n for o, n in trace.operators.items() if o in names})
    if not found:
        for kernel, count in trace.calls.items():
            if not any(mark in kernel for mark in _BACKWARD_KERNELS):
                known = (name for mark, name in _KERNEL_NAMES.items() if mark in kernel)
                found.update(dict.fromkeys(known, count))
    return dict(sorted(found.items()))


def _attention_in_words(used: Mapping[str, int], case: Case) -> list[str]:
    if used:
        return [f"attention {' and '.join(used)}"]
    return ["attention eager"] if case.attention == "eager" else []


def attention_fallback(used: Mapping[str, int], asked: str) -> str | None:
    """Say in words that attention ran on another kernel than the one asked for."""
    if asked == "eager":
        # Inductor recognises the products and the softmax, and puts a fused kernel in
        return f"eager attention was replaced by: {', '.join(used)}" if used else None
    wanted = set(FUSED_ATTENTION.values()) if asked == "sdpa" else {asked, f"cpu {asked}"}
    others = {kernel: n for kernel, n in used.items() if kernel not in wanted}
    if asked == "none" or not others:
        return None
    which = ", ".join(others)
    share = f"in {sum(others.values())} of {sum(used.values())} calls"
    why = "no fused kernel takes its inputs" if asked == "sdpa" else f"asked for: {asked}"
    return f"attention fell back to {which} {share}; {why}"


def zoo_operators(trace: StepTrace, device: str, noted: Mapping[str, str]) -> dict[str, str]:
    """Operators of the zoo that ran, gradients among them, and in which form."""
    called = {name.removeprefix(ZOO) for name in trace.operators if name.startswith(ZOO)}
    unnoted = {name for name in called - noted.keys() if not name.endswith(BACKWARD)}
    predicted = {name: _implementation(name)(device) for name in unnoted}
    return dict(sorted({**predicted, **noted}.items()))


def _implementation(operator: str) -> Callable[[str], str]:
    found: Callable[[str], str] = import_module(f"model_zoo.kernels.{operator}").implementation
    return found


def _operators_in_words(form_of: Mapping[str, str]) -> list[str]:
    """Gradients are named where they run in another form."""
    words = []
    for name, form in form_of.items():
        if not name.endswith(BACKWARD):
            of_gradients = form_of.get(f"{name}{BACKWARD}", form)
            said = "" if of_gradients == form else f" with {of_gradients} backward"
            words.append(f"{name} {form}{said}")
    return words


def _by_kernel(trace: StepTrace) -> dict[str, str]:
    """Shares of the time by name, the largest first, and calls of the same."""
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for name, taken in trace.seconds.items():
        seconds[short_name(name)] += taken
        calls[short_name(name)] += trace.calls[name]
    total = sum(seconds.values()) or 1.0
    largest = sorted(seconds.items(), key=itemgetter(1), reverse=True)[:_MOST_KERNELS]
    return {
        "time_percent_by_kernel": json.dumps({k: round(100 * s / total, 1) for k, s in largest}),
        "calls_by_kernel": json.dumps({k: calls[k] for k, _ in largest}),
    }


def short_name(kernel: str) -> str:
    """A C++ kernel's name without its return type and arguments.

    >>> short_name("void at::native::fill<4, float>(int, float*)")
    'at::native::fill<4, float>'
    """
    name = re.sub(r"\(.*", "", kernel.replace("(anonymous namespace)", "anonymous"))
    return name.removeprefix("void ").strip()[:_LONGEST_NAME] or kernel[:_LONGEST_NAME]
