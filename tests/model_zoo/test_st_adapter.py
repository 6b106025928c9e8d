import pytest
import torch
import torch.nn.functional as F

import model_zoo
from model_zoo import CheckpointError, Options, UnsupportedInputError, load_checkpoint
from model_zoo.st_adapter import Adapter, StAdapter, StAdapterConfig
from tests.detfill import clip, fill_model
from tests.model_zoo import towers
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

VARIANTS = {
    "st_adapter_base_16": "stadapter__vitb16_k400_12x384",
    "st_adapter_base_16_ssv2": "stadapter__vitb16_ssv2_24x384",
}
TINY = StAdapterConfig(
    dim=towers.DIM,
    depth=towers.DEPTH,
    num_heads=towers.NUM_HEADS,
    adapter_dim=24,
    has_adapter_before_attention=True,
)


def tiny(*, attention: str = "sdpa") -> StAdapter:
    return StAdapter(TINY, towers.options(attention=attention))


@pytest.mark.parametrize(("name", "golden"), VARIANTS.items())
def test_a_variant_has_the_official_parameters_and_operations(name, golden):
    official = facts(golden)
    with torch.device("meta"):
        model = model_zoo.create_model(name)
    assert_same_names_and_shapes(model, official)
    assert towers.num_parameters(model) == official["params"]
    assert towers.num_trainable(model) == official["trainable_params"]
    counted = macs(model, official["macs"]["input_shape"])
    assert counted == pytest.approx(official["macs"]["matmul_like_only"], rel=1e-3)


@pytest.mark.parametrize(("name", "golden"), VARIANTS.items())
def test_logits_are_the_official_ones(name, golden):
    (point,) = facts(golden)["points"]
    model = model_zoo.create_model(name, resolution=point["input_shape"][-1])
    assert_same_logits(logits(model, point), point["outputs"][0])


def test_an_adapter_moves_patches_along_time_and_leaves_the_class_token():
    h, w, T = 2, 3, 4
    module = Adapter(8, 4, (3, 1, 1))
    fill_model(module)
    x = torch.randn(2 * T, 1 + h * w, 8, dtype=torch.float64)
    y = module(x, T, h, w)
    assert torch.equal(y[:, 0], x[:, 0])
    series = module.fc1(x).reshape(2, T, 1 + h * w, 4)
    series = F.pad(series, (0, 0, 0, 0, 1, 1))  # a frame of zeros at both ends
    kernel = module.conv.weight[:, 0, :, 0, 0]  # (A, 3)
    assert module.conv.bias is not None
    mixed = sum(series[:, i : i + T] * kernel[:, i] for i in range(3)) + module.conv.bias
    expected = x + module.fc2(mixed).reshape(x.shape)
    torch.testing.assert_close(y[:, 1:], expected[:, 1:])


def test_eager_and_fused_attention_agree():
    clips = towers.tiny_clip()
    outputs = [fill_model(tiny(attention=attention))(clips) for attention in ("eager", "sdpa")]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)


def test_any_number_of_frames_will_do():
    model = fill_model(tiny())
    for num_frames in (1, 4, 7):
        assert model(towers.tiny_clip(num_frames)).shape == (2, 20)


def test_frames_need_not_be_square():
    options = Options(num_frames=4, height_px=32, width_px=64, num_classes=20)
    model = fill_model(StAdapter(TINY, options))
    assert model(clip((2, 3, 4, 32, 64))).shape == (2, 20)


def test_another_resolution_than_the_positions_is_refused():
    with pytest.raises(UnsupportedInputError, match=r"\(4, 32, 32\), got: \(4, 64, 64\)"):
        tiny()(torch.zeros(1, 3, 4, 64, 64))


def test_gradients_reach_what_is_trainable_and_nothing_frozen():
    model = fill_model(tiny()).train()
    reached = towers.reached_by_gradient(model, towers.tiny_clip())
    assert reached == towers.trainable(model)
    assert all("adapter" in name or name.startswith("fc.") for name in reached)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model, clips = fill_model(tiny()), towers.tiny_clip()
    assert torch.equal(model(clips), model(clips))
    model.train()
    assert not torch.equal(model(clips), model(clips))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_come_close_to_the_full_precision(dtype):
    model, clips = fill_model(tiny()), towers.tiny_clip()
    full = model(clips)
    half = model.to(dtype)(clips.to(dtype))
    assert half.dtype == dtype
    assert (half.double() - full).abs().max() < 0.1


def test_the_whole_model_compiles_without_a_graph_break():
    model, clips = fill_model(tiny()), towers.tiny_clip()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(clips), model(clips))


def test_a_model_fresh_from_the_clip_archive_sees_what_clip_sees():
    source, clips = towers.tower(), towers.tiny_clip(1)
    model = tiny().double().eval()
    report = load_checkpoint(model, towers.archive(source))
    assert set(report.untouched) == towers.trainable(model)
    assert not report.head_loaded
    torch.testing.assert_close(model(clips), model.fc(source(clips)))


def test_the_released_layout_with_its_half_precision_tower_loads():
    source = fill_model(tiny())
    state = {
        name: tensor if name in towers.trainable(source) else tensor.half()
        for name, tensor in source.state_dict().items()
    }
    model = tiny().double()
    report = load_checkpoint(model, {"model": state, "next_epoch": 30})
    assert report.untouched == ()
    assert report.head_loaded
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name].double()), name


def test_an_incomplete_checkpoint_is_refused():
    state = fill_model(tiny()).state_dict()
    del state["transformer.resblocks.1.adapter_pre_mlp.conv.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: .*adapter_pre_mlp\.conv\.bias"):
        load_checkpoint(tiny(), state)
