import torch

from model_zoo import create_model, load_checkpoint
from model_zoo._registry import Options
from model_zoo.r2plus1d import R2Plus1D, R2Plus1DConfig
from tests.detfill import fill
from tests.model_zoo.convnets import (
    assert_gradients_reach_every_parameter,
    assert_measured_logits,
    on_meta,
)
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

GOLDEN = facts("r2plus1d__18")


def test_parameters_have_the_official_names_shapes_and_number():
    model = on_meta("r2plus1d_18")
    assert_same_names_and_shapes(model, GOLDEN)
    assert sum(p.numel() for p in model.parameters()) == GOLDEN["params"]


def test_macs_equal_those_counted_on_the_official_code():
    assert macs(on_meta("r2plus1d_18"), [1, 3, 16, 112, 112]) == 40_519_080_960


def test_logits_equal_those_of_the_official_code():
    [point] = GOLDEN["points"]
    assert_same_logits(logits(create_model("r2plus1d_18"), point), point["outputs"][0])


def test_logits_equal_those_of_the_official_code_at_odd_sizes():
    assert_measured_logits("r2plus1d_18")


def test_training_reaches_every_parameter():
    options = Options(num_frames=2, height_px=16, width_px=16, num_classes=5)
    model = R2Plus1D(R2Plus1DConfig(depths=(1, 1, 1, 1)), options)
    assert_gradients_reach_every_parameter(model, torch.randn(2, 3, 2, 16, 16))


def test_torchvisions_bare_state_dict_loads():
    model = create_model("r2plus1d_18", num_classes=7)
    state = fill(model.state_dict())
    assert load_checkpoint(model, state).head_loaded
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)
