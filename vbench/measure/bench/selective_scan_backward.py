"""The gradients of the selective scan: one direction of a block of VideoMamba-Ti in training.

The reference goes back through what autograd has recorded of a loop over the tokens. The loops that
the scan itself is timed against index a token of all, whose gradient is as large as all: this one
takes them apart first. Ours begin with the states that their forward pass keeps. The floor reads u,
delta, z and the incoming gradient and writes three gradients as large; it computes next to nothing.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels._llvm import available_instruction_sets
from model_zoo.kernels.selective_scan import (
    CHECKPOINT_STEPS,
    cpu,
    cpu_backward,
    implementation,
    native_backward,
)
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from vbench.measure.bench.interleave import Form
from vbench.measure.bench.selective_scan import operands


def forms(sizes: Mapping[str, int], device: torch.device) -> dict[str, Form]:
    """What is compared, by name."""
    with torch.inference_mode(mode=False):
        inputs, recorded = operands(sizes, device), operands(sizes, device)
        grad = torch.randn(inputs.u.shape[1:], generator=torch.Generator().manual_seed(1))
        grad = grad.to(device)
        _, checkpoints = cpu.forward(inputs, checkpoint_steps=CHECKPOINT_STEPS)
    found = {"autograd of the loop": Form(role="reference", call=_through_the_loop(recorded, grad))}
    found["chunked"] = Form(
        role="ours",
        call=lambda: cpu_backward.backward(
            grad, inputs, checkpoints, checkpoint_steps=CHECKPOINT_STEPS
        ),
    )
    if device.type == "cpu":
        found |= {
            f"native ({level.name})": Form(
                role="ours",
                call=lambda level=level: native_backward.backward(  # type: ignore[misc]
                    grad, inputs, checkpoints, level=level
                ),
            )
            for level in available_instruction_sets()
        }
    elif implementation(device) != "chunked":
        found[implementation(device)] = Form(
            role="ours", call=lambda: _by_the_operator(inputs, grad, checkpoints)
        )
    read = torch.stack([x.flatten() for x in (inputs.u, inputs.delta, inputs.z) if x is not None])
    written, flat = torch.empty_like(read), grad.flatten()
    found["traffic"] = Form(role="floor", call=lambda: torch.mul(read, flat, out=written))
    return found


def _through_the_loop(inputs: ScanInputs, grad: Tensor) -> Callable[[], object]:
    """Calls that go back through the same recording."""
    terms = (inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C)
    leaves = [x for x in (*terms, inputs.D, inputs.z, inputs.delta_bias) if x is not None]
    with torch.inference_mode(mode=False), torch.enable_grad():
        for leaf in leaves:
            leaf.requires_grad_()
        y = _loop(inputs)

    def call() -> tuple[Tensor, ...]:
        with torch.inference_mode(mode=False):
            return torch.autograd.grad(y, leaves, grad, retain_graph=True)

    return call


def _loop(inputs: ScanInputs) -> Tensor:
    assert inputs.D is not None
    assert inputs.z is not None
    assert inputs.delta_bias is not None
    u, rates = inputs.u[0], inputs.A[0]
    delta = F.softplus(inputs.delta[0] + inputs.delta_bias[0])
    of_tokens = (x.unbind(1) for x in (delta, delta * u, inputs.B[0], inputs.C[0]))
    state = rates.new_zeros(len(u), *rates.shape)
    outputs = []
    for step, increment, b, c in zip(*of_tokens, strict=True):
        state = torch.exp(step[..., None] * rates) * state + increment[..., None] * b[:, None]
        outputs.append((state * c[:, None]).sum(-1))
    return (torch.stack(outputs, dim=1) + inputs.D[0] * u) * F.silu(inputs.z)


def _by_the_operator(inputs: ScanInputs, grad: Tensor, checkpoints: Tensor) -> tuple[Tensor, ...]:
    terms = (inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C)
    gradients: tuple[Tensor, ...] = torch.ops.model_zoo.selective_scan_backward(
        *(grad, *terms, inputs.D, inputs.z, inputs.delta_bias, checkpoints),
        delta_softplus=inputs.delta_softplus,
        reverse=inputs.reverse,
        checkpoint_steps=CHECKPOINT_STEPS,
    )
    return gradients
