import pytest
import torch
from torch import Tensor

import model_zoo
from model_zoo import CheckpointError, UnsupportedInputError, load_checkpoint
from model_zoo.aim import AdaptedBlock, Aim, AimConfig
from tests.detfill import fill_model
from tests.model_zoo import towers
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

VARIANTS = {
    "aim__vitb16_k400_8f": "aim_base_16",
    "aim__vitb16_k400_16f": "aim_base_16",
    "aim__vitb16_k400_32f": "aim_base_16",
    "aim__vitb16_ssv2_8f": "aim_base_16_ssv2",
    "aim__vitl14_k400_8f": "aim_large_14",
    "aim__vitl14_k400_16f": "aim_large_14",
    "aim__vitl14_k400_32f": "aim_large_14",
    "aim__vitl14_ssv2_8f": "aim_large_14_ssv2",
    "aim__vitl14_ssv2_8f_2tadapter": "aim_large_14_ssv2_2t",
}
TINY_POINTS = facts("aim__tiny")["points"]


def tiny(num_frames: int = 4, *, attention: str = "sdpa", **changes: float) -> Aim:
    config = AimConfig(
        dim=towers.DIM,
        depth=towers.DEPTH,
        num_heads=towers.NUM_HEADS,
        adapter_scale=changes.get("adapter_scale", 0.5),
        has_temporal_input_adapter=changes.get("num_tadapter") == 2,
    )
    return Aim(config, towers.options(num_frames, attention=attention))


@pytest.mark.parametrize(("golden", "name"), VARIANTS.items())
def test_a_variant_has_the_official_parameters_and_operations(golden, name):
    official = facts(golden)
    shape = official["macs"]["input_shape"]
    with torch.device("meta"):
        model = model_zoo.create_model(name, num_frames=shape[2])
    assert_same_names_and_shapes(model, official)
    assert towers.num_parameters(model) == official["params"]
    assert towers.num_trainable(model) == official["trainable_params"]
    assert macs(model, shape) == pytest.approx(official["macs"]["matmul_like_only"], rel=1e-3)


@pytest.mark.parametrize(
    "golden",
    [
        "aim__vitb16_k400_8f",
        "aim__vitb16_ssv2_8f",
        "aim__vitl14_k400_8f",
        "aim__vitl14_ssv2_8f",
    ],
)
@pytest.mark.slow
def test_logits_are_the_official_ones(golden):
    (point,) = facts(golden)["points"]
    *_, num_frames, height, width = point["input_shape"]
    model = model_zoo.create_model(
        VARIANTS[golden], num_frames=num_frames, resolution=(height, width)
    )
    assert_same_logits(logits(model, point), point["outputs"][0])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("point", TINY_POINTS, ids=lambda point: point["note"])
def test_every_adapter_setting_gives_the_official_logits(point, attention):
    setting = point["setting"]
    config = setting["config"]
    model = tiny(
        config["num_frames"],
        attention=attention,
        adapter_scale=config["adapter_scale"],
        num_tadapter=config["num_tadapter"],
    )
    assert towers.num_parameters(model) == setting["params"]
    assert_same_logits(logits(model, point), point["outputs"][0])


def test_gradients_reach_what_is_trainable_and_nothing_frozen():
    model = fill_model(tiny(num_tadapter=2)).train()
    reached = towers.reached_by_gradient(model, towers.tiny_clip())
    assert reached == towers.trainable(model)
    assert "backbone.ln_post.weight" in reached
    assert "backbone.ln_pre.weight" not in reached


def test_dropout_and_stochastic_depth_act_in_training_only():
    torch.manual_seed(0)
    model, clips = fill_model(tiny()), towers.tiny_clip()
    assert torch.equal(model(clips), model(clips))
    model.train()
    assert not torch.equal(model(clips), model(clips))


def test_stochastic_depth_drops_the_same_places_of_every_frame():
    torch.manual_seed(0)
    config = AimConfig(dim=8, num_heads=2)
    block = AdaptedBlock(config, drop_path_rate=0.5, attention="sdpa").train()
    kept: list[Tensor] = []
    block.drop_path.register_forward_hook(lambda _, inputs, output: kept.append(output))
    fill_model(block).train()
    block(torch.randn(6, 40, 8, dtype=torch.float64), 3)
    for output in kept:  # (N, B*T, D)
        dropped = (output == 0).flatten(1)
        assert torch.equal(dropped.any(1), dropped.all(1))
        assert 0 < dropped.all(1).sum() < 40


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


def test_another_frame_count_than_the_table_over_time_is_refused():
    with pytest.raises(UnsupportedInputError, match=r"\(4, 32, 32\), got: \(5, 32, 32\)"):
        tiny().double()(towers.tiny_clip(5))


def test_a_model_fresh_from_the_clip_archive_sees_what_clip_sees():
    source, clips = towers.tower(), towers.tiny_clip()
    model = tiny(num_tadapter=2).double().eval()
    report = load_checkpoint(model, towers.archive(source))
    assert set(report.untouched) == {
        name for name in towers.trainable(model) if "ln_post" not in name
    }
    assert not report.head_loaded
    torch.testing.assert_close(model.backbone(clips), towers.class_tokens(source, clips))


def test_the_released_layout_loads():
    source = fill_model(tiny())
    checkpoint = {"meta": {"epoch": 30}, "state_dict": source.state_dict(), "optimizer": {}}
    model = tiny().double()
    report = load_checkpoint(model, checkpoint)
    assert report.untouched == ()
    assert report.head_loaded
    clips = towers.tiny_clip()
    assert torch.equal(model.eval()(clips), source(clips))


def test_a_checkpoint_of_another_frame_count_does_not_fit():
    state = fill_model(tiny(8)).state_dict()
    with pytest.raises(CheckpointError, match=r"temporal_embedding .*\(1, 4, 64\).*\(1, 8, 64\)"):
        load_checkpoint(tiny(4), state)
