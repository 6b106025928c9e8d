import pytest
import torch
from torch import nn

from model_zoo import create_model, load_checkpoint
from model_zoo.weights.keymaps.tsn import mmaction2_name, torchvision_name
from tests.detfill import fill, fill_model
from tests.model_zoo.convnets import (
    assert_gradients_reach_every_parameter,
    assert_measured_logits,
    measured,
    on_meta,
)
from tests.model_zoo.reference import assert_same_names_and_shapes, macs


def test_parameters_have_the_official_names_shapes_and_number():
    model, official = on_meta("tsn_r50"), measured("convnet_points", "tsn_r50")
    assert_same_names_and_shapes(model, official)
    assert sum(p.numel() for p in model.parameters()) == official["params"]


def test_macs_are_those_of_resnet_50_on_each_frame():
    # 4 087 136 256 of convolutions and 2048 x 400 of the classifier, for each of 8 frames
    assert macs(on_meta("tsn_r50"), [1, 3, 8, 224, 224]) == 8 * (4_087_136_256 + 2048 * 400)


def test_cost_is_the_one_that_mmaction2_prints():
    # mmaction2 prints 102.7 G for 25 frames, two operations a normalised value among them, and
    # 24.33 M parameters
    model = on_meta("tsn_r50")
    num_normalised = 0

    def count(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal num_normalised
        num_normalised += output.numel()

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(count)
    total = macs(model, [1, 3, 25, 224, 224]) + 2 * num_normalised
    assert total / 1e9 == pytest.approx(102.7, abs=0.1)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(24.33, abs=0.005)


def test_logits_equal_those_of_the_official_code():
    assert_measured_logits("tsn_r50")


def test_the_order_of_frames_does_not_matter():
    model = fill_model(create_model("tsn_r50"))
    clips = torch.randn(1, 3, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(model(clips.flip(2)), model(clips))


def test_training_reaches_every_parameter():
    model = create_model("tsn_r50", num_classes=5)
    assert_gradients_reach_every_parameter(model, torch.randn(2, 3, 2, 32, 32))


def test_mit_han_labs_file_loads():
    model = create_model("tsn_r50")
    state = fill(model.state_dict())
    weights = {f"module.{name}": value for name, value in state.items()}
    assert load_checkpoint(model, {"state_dict": weights, "epoch": 50}).head_loaded
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_mmaction2s_file_loads():
    model = create_model("tsn_r50")
    state = fill(model.state_dict())
    weights = {mmaction2_name(name): value for name, value in state.items()}
    assert len(weights) == len(state)
    assert {
        "backbone.conv1.conv.weight",
        "backbone.conv1.bn.running_mean",
        "backbone.layer1.0.conv1.conv.weight",
        "backbone.layer1.0.downsample.conv.weight",
        "backbone.layer4.2.conv3.bn.bias",
        "cls_head.fc_cls.bias",
    } <= weights.keys()
    assert load_checkpoint(model, {"state_dict": weights}).head_loaded
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["tsn_r50", "tsm_r50"])
def test_an_imagenet_resnet_starts_the_trunk_and_leaves_the_classifier(name):
    model = create_model(name, num_classes=5)
    trunk = {k: v for k, v in fill(model.state_dict()).items() if not k.startswith("new_fc.")}
    image = {torchvision_name(k): v for k, v in trunk.items()}
    assert {"conv1.weight", "layer3.5.conv1.weight", "layer2.0.downsample.1.bias"} <= image.keys()
    image |= {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    report = load_checkpoint(model, image)
    assert report.untouched == ("new_fc.weight", "new_fc.bias")
    loaded = {k: v for k, v in model.state_dict().items() if k in trunk}
    torch.testing.assert_close(loaded, trunk, rtol=0, atol=0)
