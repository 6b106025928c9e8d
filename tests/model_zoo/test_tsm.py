import pytest
import torch

from model_zoo import UnsupportedInputError, create_model, load_checkpoint
from model_zoo.tsm import shifted
from model_zoo.weights.keymaps.tsn import mmaction2_name
from tests.detfill import fill
from tests.model_zoo.convnets import (
    assert_gradients_reach_every_parameter,
    assert_measured_logits,
    measured,
    on_meta,
)
from tests.model_zoo.reference import assert_same_names_and_shapes, macs


def test_parameters_have_the_official_names_shapes_and_number():
    model, official = on_meta("tsm_r50"), measured("convnet_points", "tsm_r50")
    assert_same_names_and_shapes(model, official)
    assert sum(p.numel() for p in model.parameters()) == official["params"]


def test_shifting_costs_no_operation():
    shape = [1, 3, 8, 224, 224]
    assert macs(on_meta("tsm_r50"), shape) == macs(on_meta("tsn_r50"), shape)


def test_logits_equal_those_of_the_official_code():
    assert_measured_logits("tsm_r50")


def test_one_eighth_of_the_channels_comes_from_either_neighbour():
    frames = torch.arange(1.0, 4.0).reshape(1, 3, 1, 1, 1).expand(1, 3, 8, 1, 1)
    by_channel = shifted(frames, 1)[0, :, :, 0, 0].T.tolist()
    assert by_channel == [[2, 3, 0], [0, 1, 2]] + [[1, 2, 3]] * 6


def test_another_frame_count_than_built_for_is_refused():
    model = create_model("tsm_r50", num_frames=2, resolution=32)
    with pytest.raises(UnsupportedInputError, match="among 2 frames, not 4"):
        model(torch.zeros(1, 3, 4, 32, 32))


def test_training_reaches_every_parameter():
    model = create_model("tsm_r50", num_frames=2, num_classes=5)
    assert_gradients_reach_every_parameter(model, torch.randn(2, 3, 2, 32, 32))


def test_mit_han_labs_file_loads():
    model = create_model("tsm_r50")
    state = fill(model.state_dict())
    weights = {f"module.{name}": value for name, value in state.items()}
    assert load_checkpoint(model, {"state_dict": weights, "epoch": 50}).head_loaded
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_mmaction2s_file_loads():
    model = create_model("tsm_r50")
    state = fill(model.state_dict())
    weights = {mmaction2_name(name): value for name, value in state.items()}
    assert len(weights) == len(state)
    assert {
        "backbone.conv1.conv.weight",
        "backbone.layer1.0.conv1.conv.net.weight",
        "backbone.layer1.0.conv1.bn.weight",
        "backbone.layer1.0.conv2.conv.weight",
    } <= weights.keys()
    assert load_checkpoint(model, {"state_dict": weights}).head_loaded
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)
