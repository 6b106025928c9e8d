"""Case -> the live things a probe works on."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import model_zoo
from model_zoo.kernels import forms
from vbench.core.errors import UsageError
from vbench.core.types import Case
from vbench.measure import compiler

DTYPES: Final = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
TRAINING_STEP: Final = "forward, cross-entropy, backward, AdamW step over trainable parameters"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model and one batch for it, both on the case's device and in its precision.

    Attributes:
        model: In eval mode for inference, in train mode for training.
        clips: (B, 3, T, H, W), unit normal.
        step: One forward pass, or one whole training step (see `TRAINING_STEP`). Everything a
            probe runs goes through it, so that no two probes run different things.
    """

    case: Case
    batch_size: int
    model: nn.Module
    clips: Tensor
    step: Callable[[], object]


def build(case: Case, batch_size: int) -> Subject:
    """Build the model with random weights and a random batch, from the case's seed.

    Raises:
        ZooError: No such model, or it cannot take the clip.
        UsageError: The precision or mode cannot run on the device.
        UnavailableError: The model is to be compiled and there is no compiler.
    """
    device = torch.device(case.device)
    torch.manual_seed(case.seed)
    torch.backends.cuda.matmul.allow_tf32 = case.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = case.precision == "tf32"
    refuse_what_cannot_run(case, device)
    model = build_model(case, device)
    dtype = torch.float32 if case.autocast else DTYPES[case.precision]
    model = model.to(device=device, dtype=dtype)
    shape = (batch_size, 3, case.clip.num_frames, case.clip.height_px, case.clip.width_px)
    clips = torch.randn(shape, device=device, dtype=dtype)
    runnable: Callable[..., Any] = model
    if case.compile:
        compiler.prepare()
        runnable = torch.compile(model)
    if case.mode == "training":
        model.train()
        step = training_step(case, runnable, model, clips)
    else:
        model.eval()
        step = inference_step(case, runnable, clips)
        if case.cudagraph:
            step = graphed(step)
    return Subject(case=case, batch_size=batch_size, model=model, clips=clips, step=step)


def refuse_what_cannot_run(case: Case, device: torch.device) -> None:
    """Say early what the device or the mode rules out.

    Raises:
        UsageError: TF32 on a CPU, or a CUDA graph of anything but inference on CUDA.
        UnavailableError: There is no compiler for what is to be compiled.
    """
    if case.compile:
        compiler.require_compiler(device.type)
    if case.precision == "tf32" and device.type == "cpu":
        raise UsageError("tf32 is a mode of NVIDIA tensor cores, not of a CPU", hint="use fp32")
    if case.autocast and case.precision in ("fp32", "tf32"):
        raise UsageError(f"autocast to {case.precision} casts nothing", hint="use bf16 or fp16")
    if case.cudagraph and (device.type != "cuda" or case.mode != "inference"):
        raise UsageError(
            f"a CUDA graph needs inference on CUDA, not: {case.mode} on {device.type}",
            hint="leave out --cudagraph",
        )


def build_model(case: Case, device: torch.device) -> nn.Module:
    """The case's model in fp32 on `device`; on ``meta`` without storage."""
    with torch.device(device):
        return model_zoo.create_model(
            case.model,
            num_frames=case.clip.num_frames,
            resolution=(case.clip.height_px, case.clip.width_px),
            attention="sdpa" if case.attention == "none" else case.attention,
        )


def inference_step(
    case: Case, runnable: Callable[[Tensor], object], clips: Tensor
) -> Callable[[], object]:
    """A forward pass without gradients."""

    def step() -> object:
        with torch.inference_mode(), autocast(case):
            return runnable(clips)

    return step


def graphed(step: Callable[[], object]) -> Callable[[], object]:
    """`step` captured once as a CUDA graph; a call replays it with one launch.

    The graph reads and writes the tensors it was captured with.
    """
    forms.forget()  # the kernels' probe tells of a graph what was noted while it was captured
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # lazy initialisation must not be captured
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step()

    def replay() -> object:
        graph.replay()
        return output

    return replay


def training_step(
    case: Case, runnable: Callable[[Tensor], Any], model: nn.Module, clips: Tensor
) -> Callable[[], object]:
    """A whole training step (see `TRAINING_STEP`) on random labels.

    Raises:
        UsageError: The model has nothing to train.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise UsageError(f"no parameter of {case.model} is trainable", hint="use --mode inference")
    # On CUDA the optimizer works on lists of tensors by default; on meta it shall be the same
    foreach = True if case.device == "meta" else None
    optimizer = torch.optim.AdamW(trainable, lr=1e-6, foreach=foreach)

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        with autocast(case):
            loss = classification_loss(runnable(clips))
        loss.backward()
        optimizer.step()
        return loss

    return step


def classification_loss(output: Tensor | dict[str, Tensor]) -> Tensor:
    """Cross-entropy against class 0, summed over heads."""
    heads = output.values() if isinstance(output, dict) else [output]
    losses = [
        F.cross_entropy(
            logits.float(), torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        )
        for logits in heads
    ]
    return torch.stack(losses).sum()


def autocast(case: Case) -> AbstractContextManager[object]:
    """Mixed precision where the case asks for it; on ``meta`` the estimator emulates it."""
    device_type = case.device.partition(":")[0]
    if not case.autocast or device_type == "meta":
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=DTYPES[case.precision])
