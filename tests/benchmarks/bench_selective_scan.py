"""Time the forms of the selective scan on this CPU, interleaved.

Usage: OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_selective_scan.py [--threads N]
           [--batch B] [--tokens L] [--rounds N] [--json PATH]

A round times every form once, right after an untimed run of the same form; every other round goes
backwards. A ratio is the median of the rounds' own ratios, so that a drift of the machine cancels.
On one thread what is timed is CPU time, which other processes disturb little; on several it is
wall time. The two loops over time are slow: they take part in every fifth round, without the
untimed run, and `num_samples` says how often. The floor moves the bytes of one scan and computes
next to nothing: u, delta, z read and y written.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels._llvm import available_instruction_sets
from model_zoo.kernels.selective_scan import cpu, native, reference
from model_zoo.kernels.selective_scan.inputs import ScanInputs

NUM_ROUNDS: Final = 30
SLOW_EVERY: Final = 5
REFERENCE: Final = "reference loop"
OFFICIAL: Final = "official loop"
FLOOR: Final = "floor (addcmul)"
SLOW: Final = (REFERENCE, OFFICIAL)

Form = Callable[[], object]


def operands(
    *, batch: int = 1, length: int = 12545, channels: int = 384, num_states: int = 16
) -> ScanInputs:
    """One direction of a block of VideoMamba-Ti, by default at 64 frames of 224 pixels."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    rates = torch.arange(1.0, num_states + 1).expand(1, channels, num_states)
    return ScanInputs(
        u=normal(1, batch, length, channels),
        delta=normal(1, batch, length, channels),
        A=-rates,
        B=normal(1, batch, length, num_states),
        C=normal(1, batch, length, num_states),
        D=torch.ones(1, channels),
        z=normal(batch, length, channels),
        delta_bias=0.5 * normal(1, channels) - 4,
        delta_softplus=True,
        reverse=(False,),
    )


def forms(inputs: ScanInputs) -> dict[str, Form]:
    """What is compared, by name; the first is what the others are set against."""

    def loop() -> Tensor:
        return reference.selective_scan(
            *(inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C),
            D=inputs.D,
            z=inputs.z,
            delta_bias=inputs.delta_bias,
            reverse=inputs.reverse,
        )

    moved = [x.flatten(0, -3) for x in (inputs.u, inputs.delta, inputs.z) if x is not None]
    result = torch.empty_like(moved[0])
    compiled: dict[str, Form] = {
        f"native ({level.name})": lambda level=level: native.forward(  # type: ignore[misc]
            inputs, checkpoint_steps=0, level=level
        )
        for level in available_instruction_sets()
    }
    return {
        REFERENCE: loop,
        OFFICIAL: lambda: official_loop(inputs),
        "chunked": lambda: cpu.forward(inputs, checkpoint_steps=0),
        **compiled,
        FLOOR: lambda: torch.addcmul(*moved, out=result),
    }


def official_loop(inputs: ScanInputs) -> Tensor:
    """As `selective_scan_ref` of state-spaces/mamba goes about it: (B, E, L), expanded first.

    Its decays and increments of all tokens exist at once, which the reference loop avoids.
    """
    assert inputs.D is not None
    assert inputs.z is not None
    assert inputs.delta_bias is not None
    u, delta, z = (x.transpose(1, 2) for x in (inputs.u[0], inputs.delta[0], inputs.z))
    B, C = inputs.B[0], inputs.C[0]
    step = F.softplus(delta + inputs.delta_bias[0, :, None])
    decays = torch.exp(torch.einsum("bel,en->beln", step, inputs.A[0]))
    increments = torch.einsum("bel,bln,bel->beln", step, B, u)
    state = u.new_zeros(u.shape[0], u.shape[1], inputs.num_states)
    outputs = []
    for t in range(u.shape[2]):
        state = decays[:, :, t] * state + increments[:, :, t]
        outputs.append(torch.einsum("ben,bn->be", state, C[:, t]))
    y = torch.stack(outputs, dim=2) + u * inputs.D[0, :, None]
    return (y * F.silu(z)).transpose(1, 2)


def interleaved_samples_s(
    forms: Mapping[str, Form],
    *,
    num_rounds: int,
    clock: Callable[[], float],
) -> dict[str, dict[int, float]]:
    """Seconds of each form by the round in which it was timed."""
    samples: dict[str, dict[int, float]] = {name: {} for name in forms}
    for index in range(num_rounds):
        names = [name for name in forms if name not in SLOW or index % SLOW_EVERY == 0]
        for name in names if index % 2 == 0 else reversed(names):
            if name not in SLOW:
                forms[name]()
            start = clock()
            forms[name]()
            samples[name][index] = clock() - start
    return samples


def paired_ratio(numerators: Mapping[int, float], denominators: Mapping[int, float]) -> float:
    """Median of the ratios of the rounds that both took part in."""
    rounds = numerators.keys() & denominators.keys()
    return statistics.median(numerators[i] / denominators[i] for i in rounds)


def measure(
    inputs: ScanInputs, *, num_threads: int = 1, num_rounds: int = NUM_ROUNDS
) -> dict[str, Any]:
    """Time all forms; the result is what the JSON file holds."""
    torch.set_num_threads(num_threads)
    clock = time.process_time if num_threads == 1 else time.perf_counter
    candidates = forms(inputs)
    with torch.inference_mode():
        first_call_s = {}
        for name in (name for name in candidates if name not in SLOW):
            start = time.perf_counter()
            candidates[name]()
            first_call_s[name] = time.perf_counter() - start
        samples_s = interleaved_samples_s(candidates, clock=clock, num_rounds=num_rounds)
    batch, length, channels = inputs.u.shape[1:]
    return {
        "batch": batch,
        "num_tokens": length,
        "num_channels": channels,
        "num_states": inputs.num_states,
        "num_threads": num_threads,
        "clock": "cpu" if num_threads == 1 else "wall",
        "torch": torch.__version__,
        "forms": [
            {
                "name": name,
                "first_call_s": first_call_s.get(name),
                "num_samples": len(samples),
                "median_s": statistics.median(samples.values()),
                "times_faster_than_reference": paired_ratio(samples_s[REFERENCE], samples),
                "times_faster_than_official": paired_ratio(samples_s[OFFICIAL], samples),
                "times_floor": paired_ratio(samples, samples_s[FLOOR]),
                "samples_s": list(samples.values()),
            }
            for name, samples in samples_s.items()
        ],
    }


def table(result: Mapping[str, Any]) -> str:
    """The result in columns for a terminal."""
    lines = [
        "B={batch} L={num_tokens} E={num_channels} N={num_states} float32,"
        " {num_threads} thread(s), {clock} time".format(**result),
        f"{'':18}{'median ms':>11}{'n':>4}{'x reference':>13}{'x official':>12}{'/ floor':>9}",
    ]
    lines += [
        f"{form['name']:18}{1e3 * form['median_s']:11.2f}{form['num_samples']:4}"
        f"{form['times_faster_than_reference']:13.2f}{form['times_faster_than_official']:12.2f}"
        f"{form['times_floor']:9.2f}"
        for form in result["forms"]
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=12545)
    parser.add_argument("--rounds", type=int, default=NUM_ROUNDS)
    parser.add_argument("--json", type=Path, help="where the samples go")
    arguments = parser.parse_args()
    inputs = operands(batch=arguments.batch, length=arguments.tokens)
    result = measure(inputs, num_threads=arguments.threads, num_rounds=arguments.rounds)
    sys.stdout.write(table(result) + "\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
