import pytest
import torch

from model_zoo import UnsupportedInputError, create_model
from model_zoo._registry import Options
from model_zoo.i3d import I3D, I3DConfig
from tests.detfill import clip, fill_model
from tests.model_zoo.convnets import (
    assert_caffe2_file_loads,
    assert_gradients_reach_every_parameter,
    assert_measured_logits,
    assert_pytorchvideo_file_gives_its_logits,
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

GOLDEN = {"i3d_r50": facts("i3d__r50_8x8"), "i3d_r50_nl": facts("i3d__r50_nl_8x8")}


def small(attention: str = "sdpa") -> I3D:
    config = I3DConfig(
        temporal_kernels=((3,), (3, 1), (3, 1), (1, 3)),
        nonlocal_after=((), (1,), (0, 1), ()),
    )
    options = Options(num_frames=4, height_px=32, width_px=32, num_classes=5, attention=attention)
    return I3D(config, options).eval()


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_parameters_have_the_official_names_shapes_and_number(name):
    model = on_meta(name)
    assert_same_names_and_shapes(model, GOLDEN[name])
    assert sum(p.numel() for p in model.parameters()) == GOLDEN[name]["params"]


@pytest.mark.parametrize(
    ("name", "side_px", "official"),
    [
        ("i3d_r50", 224, 28_407_660_544),
        ("i3d_r50", 256, 37_106_089_984),
        ("i3d_r50_nl", 224, 36_535_369_728),
        ("i3d_r50_nl", 256, 48_917_250_048),
    ],
)
def test_macs_equal_those_counted_on_the_official_code(name, side_px, official):
    assert macs(on_meta(name), [1, 3, 8, side_px, side_px]) == official


def test_logits_equal_those_of_the_official_code():
    [point] = GOLDEN["i3d_r50"]["points"]
    model = create_model("i3d_r50", num_frames=8, resolution=64)
    assert_same_logits(logits(model, point), point["outputs"][0])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_non_local_logits_equal_those_of_the_official_code_at_odd_sizes(attention):
    assert_measured_logits("i3d_r50_nl", attention=attention)


def test_attention_backends_agree():
    clips = clip((2, 3, 5, 48, 70))
    with torch.inference_mode():
        difference = fill_model(small("eager"))(clips) - fill_model(small("sdpa"))(clips)
    assert difference.abs().max() < TOLERANCE


def test_clips_without_a_pair_of_frames_or_a_map_to_pool_are_refused():
    with pytest.raises(UnsupportedInputError, match="at least 2, not 1"):
        create_model("i3d_r50", num_frames=1)
    with pytest.raises(UnsupportedInputError, match="at least 2 x 2 places, not 1 x 2"):
        small()(torch.zeros(1, 3, 4, 16, 32))


def test_training_reaches_every_parameter():
    assert_gradients_reach_every_parameter(small(), torch.randn(2, 3, 4, 32, 32))


def test_caffe2_pickles_load():
    assert_caffe2_file_loads(small(), small())


def test_pytorchvideos_file_gives_pytorchvideos_logits():
    assert_pytorchvideo_file_gives_its_logits("i3d_r50")
