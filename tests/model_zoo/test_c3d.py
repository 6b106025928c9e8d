import pytest
import torch

from model_zoo import UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import Options
from model_zoo.c3d import C3D, C3DConfig
from tests.detfill import fill
from tests.model_zoo.convnets import assert_gradients_reach_every_parameter, on_meta
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

GOLDEN = facts("c3d__sports1m_ucf101")


def small() -> C3D:
    options = Options(num_frames=16, height_px=16, width_px=32, num_classes=5)
    return C3D(C3DConfig(dim_hidden=8), options).eval()


def test_parameters_have_the_official_names_shapes_and_number():
    model = on_meta("c3d")
    assert_same_names_and_shapes(model, GOLDEN)
    assert sum(p.numel() for p in model.parameters()) == GOLDEN["params"]


def test_macs_equal_those_counted_on_the_official_code():
    assert macs(on_meta("c3d"), [1, 3, 16, 112, 112]) == 38_547_378_176


@pytest.mark.slow
def test_logits_equal_those_of_the_official_code():
    [point] = GOLDEN["points"]
    assert_same_logits(logits(create_model("c3d"), point), point["outputs"][0])


def test_the_first_linear_layer_is_sized_by_the_clip():
    with torch.device("meta"):
        model = create_model("c3d", num_frames=35, resolution=(100, 171))
        assert model.get_parameter("backbone.fc6.weight").shape[1] == 512 * 2 * 4 * 6
        assert model(torch.empty(2, 3, 35, 100, 171)).shape == (2, 101)


def test_clips_that_do_not_fit_are_refused_with_what_is_allowed():
    with pytest.raises(UnsupportedInputError, match="at least 16 frames of 16 x 16 px, not 8 of"):
        create_model("c3d", num_frames=8)
    with pytest.raises(UnsupportedInputError, match=r"map of \(1, 1, 2\).*gives \(2, 1, 2\)"):
        small()(torch.zeros(1, 3, 32, 16, 32))


def test_training_reaches_every_parameter():
    assert_gradients_reach_every_parameter(small(), torch.randn(2, 3, 16, 16, 32))


def test_mmaction2s_file_loads():
    model = small()
    state = fill(model.state_dict())
    assert load_checkpoint(model, {"state_dict": state, "meta": {"epoch": 45}}).head_loaded
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_the_sports1m_backbone_loads_and_leaves_the_classifier():
    model = small()
    classifier = model.get_parameter("cls_head.fc_cls.weight").clone()
    backbone = fill(model.backbone.state_dict())
    report = load_checkpoint(model, {"state_dict": backbone})
    assert report.untouched == ("cls_head.fc_cls.weight", "cls_head.fc_cls.bias")
    assert torch.equal(model.get_parameter("cls_head.fc_cls.weight"), classifier)
    torch.testing.assert_close(dict(model.backbone.state_dict()), backbone, rtol=0, atol=0)
