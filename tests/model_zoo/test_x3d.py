import pytest
import torch

from model_zoo import UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import Options
from model_zoo.x3d import X3D, X3DConfig
from tests.detfill import fill
from tests.model_zoo.convnets import (
    assert_gradients_reach_every_parameter,
    assert_measured_logits,
    assert_pytorchvideo_file_gives_its_logits,
    on_meta,
)
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

GOLDEN = {f"x3d_{size}": facts(f"x3d__{size}") for size in "sml"}


def small() -> X3D:
    config = X3DConfig(depths=(1, 2, 1, 1), crop_px=32)
    return X3D(config, Options(num_frames=4, height_px=32, width_px=32, num_classes=5)).eval()


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_parameters_have_the_official_names_shapes_and_number(name):
    model = on_meta(name)
    assert_same_names_and_shapes(model, GOLDEN[name])
    assert sum(p.numel() for p in model.parameters()) == GOLDEN[name]["params"]


@pytest.mark.parametrize(
    ("name", "num_frames", "side_px", "official"),
    [
        ("x3d_s", 13, 160, 1_962_892_112),
        ("x3d_s", 13, 182, 2_727_045_164),
        ("x3d_m", 16, 224, 4_732_468_736),
        ("x3d_m", 16, 256, 6_185_725_184),
        ("x3d_l", 16, 312, 18_367_710_176),
        ("x3d_l", 16, 356, 24_777_648_768),
    ],
)
def test_macs_equal_those_counted_on_the_official_code_at_training_and_test_crops(
    name, num_frames, side_px, official
):
    assert macs(on_meta(name), [1, 3, num_frames, side_px, side_px]) == official


def test_logits_equal_those_of_the_official_code():
    [point] = GOLDEN["x3d_s"]["points"]
    assert_same_logits(logits(create_model("x3d_s"), point), point["outputs"][0])


@pytest.mark.parametrize("name", ["x3d_m", "x3d_l"])
def test_logits_equal_those_of_the_official_code_where_the_window_slides(name):
    assert_measured_logits(name)


def test_clips_smaller_than_the_window_are_refused():
    with pytest.raises(UnsupportedInputError, match="clip too small"):
        small()(torch.zeros(1, 3, 3, 32, 32))


def test_training_reaches_every_parameter():
    assert_gradients_reach_every_parameter(small(), torch.randn(2, 3, 4, 32, 32))


def test_pyslowfasts_own_files_load():
    model = small()
    state = fill(model.state_dict())
    report = load_checkpoint(model, {"model_state": state, "epoch": 300})
    assert report.head_loaded
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_new_classes_keep_all_of_the_head_but_the_last_layer():
    source, model = small(), small()
    source.load_state_dict(fill(source.state_dict()))
    report = load_checkpoint(model, source.state_dict(), with_head=False)
    assert report.untouched == ("head.projection.weight", "head.projection.bias")


def test_pytorchvideos_file_gives_pytorchvideos_logits():
    assert_pytorchvideo_file_gives_its_logits("x3d_s")
