import pytest
import torch
from torch import nn

from model_zoo import create_model
from model_zoo._errors import CheckpointError
from model_zoo._registry import Options
from model_zoo.layers.tubelet_vit import TubeletViTConfig
from model_zoo.videomaev2 import VideoMAEv2
from model_zoo.weights import load_checkpoint
from tests.detfill import fill_model
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

SIZES = ("small", "base", "giant")


def on_meta(size: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(f"videomaev2_{size}")


def tiny(num_classes: int) -> nn.Module:
    config = TubeletViTConfig(dim=24, depth=2, num_heads=3, mlp_dim=48, patch_px=14)
    options = Options(num_frames=4, height_px=28, width_px=28, num_classes=num_classes)
    return VideoMAEv2(config, options)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(f"videomaev2__{size}")
    model = on_meta(size)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize("size", SIZES)
def test_macs_equal_those_counted_on_the_official_code(size):
    counted = facts(f"videomaev2__{size}")["macs"]

    ours = macs(on_meta(size), counted["input"][0])

    assert ours == pytest.approx(counted["total_without_norms"], rel=1e-3)


@pytest.mark.parametrize("size", ["small", pytest.param("base", marks=pytest.mark.slow)])
def test_logits_equal_those_of_the_official_code(size):
    for point in facts(f"videomaev2__{size}")["points"]:
        _, _, num_frames, *resolution = point["input_shape"]
        model = create_model(
            f"videomaev2_{size}", num_frames=num_frames, resolution=tuple(resolution)
        )
        assert_same_logits(logits(model, point), point["outputs"][0])


def test_a_distilled_file_saved_by_a_compiled_model_loads():
    source = fill_model(tiny(710)).float().state_dict()
    model = tiny(710)

    report = load_checkpoint(
        model, {"module": {f"_orig_mod.{name}": value for name, value in source.items()}}
    )

    assert report.head_loaded
    assert all(torch.equal(value, source[name]) for name, value in model.state_dict().items())


def test_a_head_of_710_classes_is_not_cut_to_400_in_the_wrong_order():
    with pytest.raises(CheckpointError, match=r"head.weight \(wanted \(400, 24\), got \(710, 24\)"):
        load_checkpoint(tiny(400), tiny(710).state_dict())
