"""What the tests of the convolutional families share.

`golden/convnet_points.json` and `golden/pytorchvideo.json` hold logits (and, where no facts file
exists, names) measured on the official code named in each entry, with the weights and clips of
`tests.detfill`; SlowFast's softmax replaced by the identity. ``resolution`` is the official
training crop, which sizes the head's window.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_zoo import create_model, load_checkpoint
from tests.detfill import clip, fill
from tests.model_zoo.reference import assert_same_logits, expanded_names, logits

GOLDEN = Path(__file__).parents[1] / "golden"


def measured(file: str, name: str) -> dict[str, Any]:
    """Entry `name` of ``golden/<file>.json``."""
    entries: dict[str, Any] = json.loads((GOLDEN / f"{file}.json").read_text(encoding="utf-8"))
    entry: dict[str, Any] = entries[name]
    return entry


def on_meta(name: str) -> nn.Module:
    """A variant without storage."""
    with torch.device("meta"):
        return create_model(name)


def at_point(name: str, point: dict[str, Any], **options: Any) -> nn.Module:
    """The variant built for a reference point that was measured with a square training crop."""
    num_frames = point.get("num_frames", point["input_shape"][2])
    resolution = point.get("resolution", point["input_shape"][3])
    return create_model(name, num_frames=num_frames, resolution=resolution, **options)


def assert_measured_logits(name: str, **options: Any) -> None:
    """Compare with the point measured on a non-square clip larger than the head's window."""
    point = measured("convnet_points", name)
    assert_same_logits(logits(at_point(name, point, **options), point), point)


def assert_gradients_reach_every_parameter(model: nn.Module, clips: Tensor) -> None:
    """Fail with the names that a training step leaves without a gradient."""
    model.train()(clips).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if not p.requires_grad]
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def assert_pytorchvideo_file_gives_its_logits(name: str) -> None:
    """Load PyTorchVideo's names, filled by those names, and compare with PyTorchVideo's logits."""
    point = measured("pytorchvideo", name)
    shapes = expanded_names(point["state_dict"])
    empty = {
        key: torch.zeros(shape, dtype=torch.float64)
        for key, shape in shapes.items()
        if not key.endswith("num_batches_tracked")
    }
    model = at_point(name, point).double().eval()
    weights = {f"model.{key}": value for key, value in fill(empty).items()}
    report = load_checkpoint(model, {"model_state": weights})
    assert report.head_loaded
    with torch.inference_mode():
        assert_same_logits(model(clip(point["input_shape"], point["clip_tag"])), point)


TO_CAFFE2 = (
    (r"^s1\.pathway0_stem\.conv", "conv1"),
    (r"^s1\.pathway0_stem\.bn", "res_conv1_bn"),
    (r"^s1\.pathway1_stem\.conv", "t_conv1"),
    (r"^s1\.pathway1_stem\.bn", "t_res_conv1_bn"),
    (r"^s1_fuse\.conv_f2s", "t_pool1_subsample"),
    (r"^s1_fuse\.bn", "t_pool1_subsample_bn"),
    (r"^s(\d)_fuse\.conv_f2s", r"t_res\1_2_branch2c_bn_subsample"),
    (r"^s(\d)_fuse\.bn", r"t_res\1_2_branch2c_bn_subsample_bn"),
    (r"^s(\d)\.pathway0_nonlocal(\d+)\.(conv_)?", r"nonlocal_conv\1_\2_"),
    (r"^s(\d)\.pathway0_res(\d+)\.", r"res\1_\2_"),
    (r"^s(\d)\.pathway1_res(\d+)\.", r"t_res\1_\2_"),
    (r"branch2\.", "branch2"),
    (r"^head\.projection", "pred"),
    (r"bn\.weight$", "bn_s"),
    (r"\.weight$", "_w"),
    (r"\.bias$", "_b"),
    (r"\.running_mean$", "_rm"),
    (r"\.running_var$", "_riv"),
)


def caffe2_blobs(model: nn.Module) -> dict[str, Any]:
    """The arrays that Caffe2 would have saved for `model`, its training state among them."""
    blobs: dict[str, Any] = {"lr": np.float32(0.1), "model_iter": np.array([7])}
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        blob = name
        for pattern, replacement in TO_CAFFE2:
            blob = re.sub(pattern, replacement, blob)
        blobs[blob] = blobs[f"{blob}_momentum"] = value.numpy()
    return blobs


def assert_caffe2_file_loads(model: nn.Module, fresh: nn.Module) -> None:
    """Load `model`'s weights into `fresh` through Caffe2's names and compare every entry."""
    model.load_state_dict(fill(model.state_dict()))
    report = load_checkpoint(fresh, {"blobs": caffe2_blobs(model)})
    assert report.head_loaded
    for name, value in model.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], value, rtol=0, atol=0)
