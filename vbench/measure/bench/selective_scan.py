"""The selective scan and its rivals: one direction of a block of VideoMamba-Ti.

The reference goes about it as official code does. The floor moves the bytes of one scan and
computes next to nothing: u, delta and z are read, y is written. One yardstick does the same into
memory that the system has to hand out first, which every form does that returns more than malloc
keeps (32 MiB). The other takes as many exponentials with torch, a block that stays in cache at a
time; a form that keeps its states in registers can beat it.

Legend: B batch, L tokens, E channels, N states.
"""

import importlib
import importlib.util
import math
from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels._llvm import available_instruction_sets
from model_zoo.kernels.selective_scan import cpu, implementation, native, reference, selective_scan
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from vbench.measure.bench.interleave import Form

BLOCK: Final = 2**16


def forms(sizes: Mapping[str, int], device: torch.device) -> dict[str, Form]:
    """What is compared, by name."""
    inputs = operands(sizes, device)
    found = {
        "official loop": Form(role="reference", call=lambda: official_loop(inputs)),
        "loop in steps": Form(role="peer", call=lambda: _loop_in_steps(inputs)),
    }
    found["chunked"] = Form(role="ours", call=lambda: cpu.forward(inputs, checkpoint_steps=0))
    if device.type == "cpu":
        found |= {
            f"native ({level.name})": Form(
                role="ours",
                call=lambda level=level: native.forward(  # type: ignore[misc]
                    inputs, checkpoint_steps=0, level=level
                ),
            )
            for level in available_instruction_sets()
        }
    elif implementation(device) != "chunked":
        found[implementation(device)] = Form(role="ours", call=lambda: _ours(inputs))
    found |= _mamba_ssm(inputs)
    moved = [x.flatten(0, -3) for x in (inputs.u, inputs.delta, inputs.z) if x is not None]
    result = torch.empty_like(moved[0])
    found["traffic"] = Form(role="floor", call=lambda: torch.addcmul(*moved, out=result))
    found["traffic to new memory"] = Form(role="yardstick", call=lambda: torch.addcmul(*moved))
    num_exps = math.prod(inputs.u.shape) * inputs.num_states
    found["torch.exp2"] = Form(role="yardstick", call=_exponentials(num_exps, device))
    return found


def operands(sizes: Mapping[str, int], device: torch.device) -> ScanInputs:
    """As a block of VideoMamba has them, in float32, from a fixed seed."""
    batch, length = sizes["batch"], sizes["num_tokens"]
    channels, num_states = sizes["num_channels"], sizes["num_states"]
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    rates = torch.arange(1.0, num_states + 1, device=device).expand(1, channels, num_states)
    return ScanInputs(
        u=normal(1, batch, length, channels),
        delta=normal(1, batch, length, channels),
        A=-rates,
        B=normal(1, batch, length, num_states),
        C=normal(1, batch, length, num_states),
        D=torch.ones(1, channels, device=device),
        z=normal(batch, length, channels),
        delta_bias=0.5 * normal(1, channels) - 4,
        delta_softplus=True,
        reverse=(False,),
    )


def _options(inputs: ScanInputs) -> dict[str, Any]:
    return {
        "D": inputs.D,
        "z": inputs.z,
        "delta_bias": inputs.delta_bias,
        "reverse": inputs.reverse,
    }


def _loop_in_steps(inputs: ScanInputs) -> Tensor:
    """What the tests trust: no more than a step is ever expanded."""
    terms = (inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C)
    return reference.selective_scan(*terms, **_options(inputs))


def _ours(inputs: ScanInputs) -> Tensor:
    terms = (inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C)
    return selective_scan(*terms, **_options(inputs))


def official_loop(inputs: ScanInputs) -> Tensor:
    """As `selective_scan_ref` of state-spaces/mamba goes about it: (B, E, L), expanded first.

    Its decays and increments of all tokens exist at once, 3.7 GB for four rows of 64 frames.
    """
    assert inputs.D is not None
    assert inputs.z is not None
    assert inputs.delta_bias is not None
    u, delta, z = (x.transpose(1, 2) for x in (inputs.u[0], inputs.delta[0], inputs.z))
    step = F.softplus(delta + inputs.delta_bias[0, :, None])
    decays = torch.exp(torch.einsum("bel,en->beln", step, inputs.A[0]))
    increments = torch.einsum("bel,bln,bel->beln", step, inputs.B[0], u)
    state = u.new_zeros(u.shape[0], u.shape[1], inputs.num_states)
    outputs = []
    for t in range(u.shape[2]):
        state = decays[:, :, t] * state + increments[:, :, t]
        outputs.append(torch.einsum("ben,bn->be", state, inputs.C[0, :, t]))
    y = torch.stack(outputs, dim=2) + u * inputs.D[0, :, None]
    return (y * F.silu(z)).transpose(1, 2)


def _mamba_ssm(inputs: ScanInputs) -> dict[str, Form]:
    """The CUDA kernel of `mamba-ssm`, where it is installed, on operands in its own layout."""
    if inputs.u.device.type != "cuda" or importlib.util.find_spec("mamba_ssm") is None:
        return {}
    interface = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    streams = (inputs.u[0], inputs.delta[0], inputs.B[0], inputs.C[0], inputs.z)
    u, delta, b, c, z = (x.transpose(1, 2).contiguous() for x in streams if x is not None)
    assert inputs.D is not None
    assert inputs.delta_bias is not None
    skip, bias = inputs.D[0], inputs.delta_bias[0]

    def call() -> object:
        return interface.selective_scan_fn(
            u, delta, inputs.A[0], b, c, skip, z, bias, delta_softplus=True
        )

    return {"mamba_ssm": Form(role="peer", call=call)}


def _exponentials(count: int, device: torch.device) -> Any:
    block = -torch.rand(BLOCK if device.type == "cpu" else 2**24, device=device)
    result = torch.empty_like(block)
    whole, rest = divmod(count, block.numel())

    def call() -> None:
        for _ in range(whole):
            torch.exp2(block, out=result)
        if rest:
            torch.exp2(block[:rest], out=result[:rest])

    return call
