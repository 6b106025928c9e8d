import pytest
import torch

from model_zoo import UnsupportedInputError, create_model
from model_zoo._registry import Options
from model_zoo.slowfast import SlowFast, SlowFastConfig, slow_frame_indices
from tests.model_zoo.convnets import (
    assert_caffe2_file_loads,
    assert_gradients_reach_every_parameter,
    assert_measured_logits,
    assert_pytorchvideo_file_gives_its_logits,
    at_point,
    measured,
    on_meta,
)
from tests.model_zoo.reference import (
    TOLERANCE,
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

GOLDEN = {
    name: facts(name.replace("slowfast_", "slowfast__"))
    for name in (
        "slowfast_r50_4x16",
        "slowfast_r50_8x8",
        "slowfast_r101_8x8",
        "slowfast_r101_nl_16x8",
    )
}


def small() -> SlowFast:
    config = SlowFastConfig(
        depths=(1, 1, 2, 1), num_temporal=(1, 1, 1, 1), nonlocal_after=((), (), (1,), ())
    )
    options = Options(num_frames=8, height_px=32, width_px=32, num_classes=5)
    return SlowFast(config, options).eval()


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_parameters_have_the_official_names_shapes_and_number(name):
    model = on_meta(name)
    assert_same_names_and_shapes(model, GOLDEN[name])
    assert sum(p.numel() for p in model.parameters()) == GOLDEN[name]["params"]


@pytest.mark.parametrize(
    ("name", "num_frames", "side_px", "official"),
    [
        ("slowfast_r50_4x16", 32, 224, 27_638_665_216),
        ("slowfast_r50_4x16", 32, 256, 36_101_963_776),
        ("slowfast_r50_8x8", 32, 224, 50_308_583_424),
        ("slowfast_r50_8x8", 32, 256, 65_711_652_864),
        ("slowfast_r101_8x8", 32, 256, 125_908_303_872),
        ("slowfast_r101_nl_16x8", 64, 256, 242_015_027_200),
    ],
)
def test_macs_equal_those_counted_on_the_official_code(name, num_frames, side_px, official):
    assert macs(on_meta(name), [1, 3, num_frames, side_px, side_px]) == official


def test_logits_equal_those_of_the_official_code():
    [point] = GOLDEN["slowfast_r50_8x8"]["points"]
    model = create_model("slowfast_r50_8x8", num_frames=32, resolution=64)
    assert_same_logits(logits(model, point), point["outputs"][0])


@pytest.mark.parametrize("name", ["slowfast_r50_4x16", "slowfast_r101_8x8"])
def test_logits_equal_those_of_the_official_code_at_odd_sizes(name):
    assert_measured_logits(name)


def test_non_local_logits_equal_those_of_the_official_code():
    # Similarities that nothing normalises make test weights give logits of 1e13: compare their
    # proportions, in which 1e-9 means the same as elsewhere.
    point = measured("convnet_points", "slowfast_r101_nl_16x8")
    scale = point["l2"]
    output = logits(at_point("slowfast_r101_nl_16x8", point), point) / scale
    reference = torch.tensor(point["first16"], dtype=torch.float64) / scale
    assert (output[0, :16] - reference).abs().max() < TOLERANCE
    assert abs(output.norm().item() - 1.0) < TOLERANCE


@pytest.mark.parametrize(
    ("num_frames", "alpha", "official"),
    [
        (4, 4, (0,)),
        (32, 4, (0, 4, 8, 13, 17, 22, 26, 31)),
        (32, 8, (0, 10, 20, 31)),
        (64, 4, (0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63)),
    ],
)
def test_slow_frames_are_those_of_the_official_loader(num_frames, alpha, official):
    assert slow_frame_indices(num_frames, alpha) == official


def test_slow_frames_are_known_without_storage_and_do_not_depend_on_the_default_dtype():
    with torch.device("meta"):
        assert slow_frame_indices(160, 4) == slow_frame_indices(160, 4)
    before = torch.get_default_dtype()
    single = slow_frame_indices(544, 4)
    try:
        torch.set_default_dtype(torch.float64)
        assert slow_frame_indices(544, 4) == single
    finally:
        torch.set_default_dtype(before)


def test_frame_counts_at_which_the_pathways_cannot_meet_are_refused():
    with pytest.raises(UnsupportedInputError, match="multiple of 8 for both pathways"):
        create_model("slowfast_r50_4x16", num_frames=12)
    with pytest.raises(UnsupportedInputError, match="built for 8 frames, not 16"):
        small()(torch.zeros(1, 3, 16, 32, 32))


def test_training_reaches_every_parameter():
    assert_gradients_reach_every_parameter(small(), torch.randn(2, 3, 8, 32, 32))


def test_caffe2_pickles_load():
    assert_caffe2_file_loads(small(), small())


def test_pytorchvideos_file_gives_pytorchvideos_logits():
    assert_pytorchvideo_file_gives_its_logits("slowfast_r50_8x8")
