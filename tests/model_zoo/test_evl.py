from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import model_zoo
from model_zoo import CheckpointError, UnsupportedInputError, load_checkpoint
from model_zoo.evl import Evl, EvlConfig, TemporalCrossAttention
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
    "evl__vitb16_8f": "evl_base_16",
    "evl__vitb16_16f": "evl_base_16",
    "evl__vitb16_32f": "evl_base_16",
    "evl__vitl14_8f": "evl_large_14",
    "evl__vitl14_16f": "evl_large_14",
    "evl__vitl14_32f": "evl_large_14",
    "evl__vitl14_336_32f": "evl_large_14_336",
}
TINY = EvlConfig(
    dim=towers.DIM, depth=6, num_heads=4, decoder_depth=3, decoder_dim=64, decoder_num_heads=4
)
TINY_POINTS = facts("evl__tiny_ablations")["points"]
# The last three points differ in the decoder, which their golden entries say in words only.
ODD_DECODERS = (
    replace(TINY, decoder_depth=4, decoder_dim=48, decoder_num_heads=3),
    replace(TINY, decoder_depth=2, decoder_dim=64, decoder_num_heads=8),
    replace(TINY, decoder_depth=6, decoder_dim=32, decoder_num_heads=2),
)


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


@pytest.mark.parametrize("golden", ["evl__vitb16_8f", "evl__vitb16_16f", "evl__vitl14_8f"])
@pytest.mark.slow
def test_logits_are_the_official_ones(golden):
    (point,) = facts(golden)["points"]
    *_, num_frames, height, width = point["input_shape"]
    model = model_zoo.create_model(
        VARIANTS[golden], num_frames=num_frames, resolution=(height, width)
    )
    assert_same_logits(logits(model, point), point["outputs"][0])


def tiny(point: dict[str, Any], attention: str) -> Evl:
    *_, num_frames, height, width = point["input_shape"]
    options = model_zoo.Options(
        num_frames=num_frames,
        height_px=height,
        width_px=width,
        num_classes=20,
        attention=attention,
    )
    flags = point["setting"].get("flags")
    if flags is None:
        return Evl(ODD_DECODERS[TINY_POINTS.index(point) - 8], options)
    config = replace(
        TINY,
        has_temporal_convolution=flags["enable_temporal_conv"],
        has_temporal_positions=flags["enable_temporal_pos_embed"],
        has_temporal_attention=flags["enable_temporal_cross_attention"],
    )
    return Evl(config, options)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("point", TINY_POINTS, ids=lambda point: point["note"])
def test_every_switch_and_odd_shape_gives_the_official_logits(point, attention):
    model = tiny(point, attention)
    assert towers.num_parameters(model) == point["setting"]["params"]
    assert_same_logits(logits(model, point), point["outputs"][0])


def test_attention_maps_of_neighbours_weight_the_table_by_offset():
    module = TemporalCrossAttention(5, (2, 3))
    fill_model(module)
    q, k = torch.randn(2, 1, 3, 4, 7, 8, dtype=torch.float64)  # B=1, T=3, 4 heads, 1 + 6 places
    features = module(q, k)
    places = [(row, column) for row in range(2) for column in range(3)]
    for t, p in ((0, 0), (1, 4), (2, 5)):
        expected = torch.zeros(5, dtype=torch.float64)
        for neighbour, table in ((t - 1, module.w1), (t + 1, module.w2)):
            if 0 <= neighbour < 3:
                scores = (q[0, t, :, 1 + p, None] * k[0, neighbour, :, 1:]).sum(-1) / 8**0.5
                weights = scores.softmax(-1).mean(0)
                for weight, (row, column) in zip(weights, places, strict=True):
                    offset = (places[p][0] - row + 1) * 5 + places[p][1] - column + 2
                    expected += weight * table[offset]
        torch.testing.assert_close(features[0, t, 1 + p], expected)
    assert not features[:, :, 0].any()


def test_gradients_reach_what_is_trainable_and_nothing_frozen():
    model = fill_model(Evl(TINY, towers.options())).train()
    reached = towers.reached_by_gradient(model, towers.tiny_clip())
    assert reached == towers.trainable(model)
    assert {name.partition(".")[0] for name in reached} == {"decoder", "proj"}


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model, clips = fill_model(Evl(TINY, towers.options())), towers.tiny_clip()
    assert torch.equal(model(clips), model(clips))
    model.train()
    assert not torch.equal(model(clips), model(clips))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_come_close_to_the_full_precision(dtype):
    model, clips = fill_model(Evl(TINY, towers.options())), towers.tiny_clip()
    full = model(clips)
    half = model.to(dtype)(clips.to(dtype))
    assert half.dtype == dtype
    assert (half.double() - full).abs().max() < 0.1


def test_the_whole_model_compiles_without_a_graph_break():
    model, clips = fill_model(Evl(TINY, towers.options())), towers.tiny_clip()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(clips), model(clips))


def test_another_frame_count_needs_the_table_over_time_switched_off():
    with pytest.raises(UnsupportedInputError, match=r"\(4, 32, 32\), got: \(5, 32, 32\)"):
        Evl(TINY, towers.options()).double()(towers.tiny_clip(5))
    model = Evl(replace(TINY, has_temporal_positions=False), towers.options()).double()
    assert model(towers.tiny_clip(5)).shape == (2, 20)


def test_a_resolution_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(UnsupportedInputError, match="multiples of 14 px, got: 224 x 220"):
        model_zoo.create_model("evl_large_14", resolution=(224, 220))


def released(model: nn.Module) -> dict[str, Any]:
    """The released layout: decoder and head as a distributed training saved them."""
    state = model.state_dict()
    return {
        "model": {
            f"module.{name}": tensor
            for name, tensor in state.items()
            if not name.startswith("backbone.")
        }
    }


def test_the_clip_archive_becomes_the_backbone():
    source, clips = towers.tower(depth=6), towers.tiny_clip(1)
    model = Evl(TINY, towers.options()).double()
    report = load_checkpoint(model, towers.archive(source))
    assert set(report.untouched) == towers.trainable(model)
    assert not report.head_loaded
    features = model.backbone(clips.squeeze(2))
    torch.testing.assert_close(source.ln_post(features[-1].out[:, 0]), source(clips))


def test_the_released_decoder_joins_a_backbone_loaded_before():
    source = fill_model(Evl(TINY, towers.options()))
    model = Evl(TINY, towers.options()).double().eval()
    load_checkpoint(model, towers.archive(towers.tower(depth=6)))
    backbone = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    report = load_checkpoint(model, released(source))
    assert {name.partition(".")[0] for name in report.untouched} == {"backbone"}
    assert report.head_loaded
    for name, tensor in model.state_dict().items():
        expected = backbone.get(name.removeprefix("backbone."))
        assert torch.equal(tensor, source.state_dict()[name] if expected is None else expected)


def test_a_whole_model_loads_from_its_own_layout():
    source = fill_model(Evl(TINY, towers.options()))
    report = load_checkpoint(Evl(TINY, towers.options()), source.state_dict())
    assert report.untouched == ()


def test_a_part_is_strict_within_itself():
    state = released(fill_model(Evl(TINY, towers.options())))
    del state["model"]["module.decoder.cls_token"]
    with pytest.raises(CheckpointError, match=r"1 missing: decoder\.cls_token"):
        load_checkpoint(Evl(TINY, towers.options()), state)
    tower = towers.archive(towers.tower(depth=7))
    with pytest.raises(CheckpointError, match=r"16 unexpected: backbone\.blocks\.6"):
        load_checkpoint(Evl(TINY, towers.options()), tower)
