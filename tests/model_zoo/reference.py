"""Compare a model of ours with what was measured on the official implementation."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.detfill import clip, fill_model

ZOO = Path(__file__).parents[1] / "golden" / "zoo"
TOLERANCE = 1e-9  # absolute, float64


def facts(name: str) -> dict[str, Any]:
    """The golden file `zoo/<name>.json`."""
    loaded: dict[str, Any] = json.loads((ZOO / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def expanded_names(condensed: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Every state-dict name with its shape, from the form that golden files keep them in."""
    shapes = {}
    for key, numbers in condensed.items():
        template, _, shape = key.partition(" ")
        for indices in _expand(numbers):
            name = template.replace("*", "{}").format(*indices)
            shapes[name] = tuple(json.loads(shape))
    return shapes


def _expand(numbers: str) -> list[tuple[int, ...]]:
    if not numbers:
        return [()]
    if "-" in numbers:
        bounds = [part.split("-") for part in numbers.split()]
        return list(product(*(range(int(low), int(high) + 1) for low, high in bounds)))
    return [tuple(int(n) for n in item.split(".")) for item in numbers.split(",")]


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """State-dict name -> shape."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def assert_same_names_and_shapes(model: nn.Module, golden: dict[str, Any]) -> None:
    """Fail with the difference unless `model` has exactly the official names and shapes."""
    ours, official = shapes_of(model), expanded_names(golden["state_dict"])
    assert len(official) == golden["entries"]
    assert ours == official


def logits(model: nn.Module, point: dict[str, Any]) -> Any:
    """What `model` gives for the point's clip, with deterministic weights, in float64."""
    clips = clip(point["input_shape"], point["clip_tag"])
    if clips.ndim == 4:
        clips = clips.unsqueeze(2)  # image (B, 3, H, W) -> clip of one frame (B, 3, 1, H, W)
    with torch.inference_mode():
        return fill_model(model)(clips)


def assert_same_logits(output: Tensor, expected: dict[str, Any]) -> None:
    """Compare the first 16 logits, the sum and the norm with the reference."""
    flat = output.flatten()
    reference = torch.tensor(expected["first16"], dtype=torch.float64)
    worst = (flat[: len(reference)] - reference).abs().max().item()
    assert worst < TOLERANCE, f"logits differ by {worst:.3g}"
    assert abs(flat.sum().item() - expected["sum"]) < TOLERANCE * flat.numel()
    assert abs(flat.norm().item() - expected["l2"]) < TOLERANCE * flat.numel()


def macs(model: nn.Module, input_shape: list[int]) -> int:
    """Multiply-adds of one forward pass of a model on the meta device."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(input_shape, device="meta"))
    return int(counter.get_total_flops()) // 2
