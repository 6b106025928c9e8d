"""TimeSformer against the official implementation, in all sizes and schemes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from model_zoo import (
    CheckpointError,
    Options,
    UnsupportedInputError,
    create_model,
    list_models,
    load_checkpoint,
    model_entry,
)
from model_zoo.layers.drop_path import DropPath
from model_zoo.timesformer import DividedBlock, TimeSformer, TimeSformerConfig
from tests.detfill import clip, fill, fill_model
from tests.model_zoo import reference

FACTS = {
    "timesformer_base": "timesformer__divST_8x224",
    "timesformer_base_joint": "timesformer__jointST_8x224",
    "timesformer_base_space": "timesformer__spaceOnly_8x224",
    "timesformer_hr": "timesformer__HR_divST_16x448",
    "timesformer_large": "timesformer__L_divST_96x224",
}
VARIANTS = [name for name in list_models(family="timesformer") if not name.endswith("_nano")]
SCHEMES = {"joint": "joint", "space": "space"}


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


def scheme_of(name: str) -> str:
    return SCHEMES.get(name.rpartition("_")[2], "divided")


def num_macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(shape, device="meta"))
    return int(counter.get_total_flops()) // 2


def test_every_size_has_every_scheme():
    sizes = ("tiny", "base", "hr", "large")
    assert sorted(VARIANTS) == sorted(
        f"timesformer_{size}{scheme}" for size in sizes for scheme in ("", "_joint", "_space")
    )


@pytest.mark.parametrize(("name", "facts"), FACTS.items())
def test_names_shapes_counts_and_macs_are_the_official_ones(name, facts):
    golden = reference.facts(facts)
    model = on_meta(name)
    reference.assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]
    assert num_macs(model, golden["macs"]["input"][0]) == golden["macs"]["total_without_norms"]


def expected_params(D: int, T: int, N: int, scheme: str) -> int:
    attention, norm = 4 * D * D + 4 * D, 2 * D
    block = attention + 2 * norm + 8 * D * D + 5 * D
    if scheme == "divided":
        block += attention + norm + D * D + D
    tables = D + (1 + N) * D + (0 if scheme == "space" else T * D)
    return tables + (3 * 256 * D + D) + 12 * block + norm + 400 * D + 400


def expected_macs(D: int, T: int, N: int, scheme: str) -> int:
    def attention(num_sequences: int, length: int) -> int:
        return num_sequences * (4 * length * D * D + 2 * length * length * D)

    if scheme == "joint":
        tokens, block = 1 + N * T, attention(1, 1 + N * T)
    elif scheme == "space":
        tokens, block = T * (1 + N), attention(T, 1 + N)
    else:
        over_time = attention(N, T) + N * T * D * D
        tokens, block = 1 + N * T, over_time + attention(T, 1 + N)
    return N * T * 3 * 256 * D + 12 * (block + 8 * tokens * D * D) + 400 * D


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", VARIANTS)
def test_params_and_macs_follow_from_the_dimensions(name, attention):
    T, H, W = model_entry(name).clip
    D = 192 if "tiny" in name else 768
    model = on_meta(name, attention=attention)
    places = (H // 16) * (W // 16)
    scheme = scheme_of(name)
    assert sum(p.numel() for p in model.parameters()) == expected_params(D, T, places, scheme)
    assert num_macs(model, (1, 3, T, H, W)) == expected_macs(D, T, places, scheme)


def reduced(scheme: Any, *, attention: str = "sdpa", **options: int) -> TimeSformer:
    """Three narrow blocks."""
    config = TimeSformerConfig(dim=192, num_heads=3, depth=3, scheme=scheme)
    return TimeSformer(
        config,
        Options(
            num_frames=options.get("num_frames", 8),
            height_px=options.get("resolution_px", 112),
            width_px=options.get("resolution_px", 112),
            num_classes=options.get("num_classes", 20),
            attention=attention,
        ),
    )


REDUCED = reference.facts("timesformer__reduced")["points"]


def point_id(point: dict[str, Any]) -> str:
    setting = point["setting"]
    built = f"{setting['num_frames']}x{setting['resolution_px']}"
    return f"{setting['scheme']}-{built}-" + "x".join(map(str, point["input_shape"]))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("point", REDUCED, ids=point_id)
def test_reduced_models_give_the_official_logits_at_other_frames_and_grids(point, attention):
    model = reduced(attention=attention, **point["setting"])
    reference.assert_same_logits(reference.logits(model, point), point["outputs"][0])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "facts"), FACTS.items())
def test_full_size_models_give_the_official_logits(name, facts):
    for point in reference.facts(facts)["points"]:
        built = point["setting"]["constructor"]
        model = create_model(name, num_frames=built["num_frames"], resolution=built["img_size"])
        reference.assert_same_logits(reference.logits(model, point), point["outputs"][0])


def test_tables_of_another_shape_but_as_many_places_are_taken_as_they_are():
    clips = clip((1, 3, 2, 112, 448))
    with torch.inference_mode():
        square = fill_model(reduced("divided", resolution_px=224, num_frames=2))(clips)
        wide_model = TimeSformer(
            TimeSformerConfig(dim=192, num_heads=3, depth=3),
            Options(num_frames=2, height_px=112, width_px=448, num_classes=20),
        )
        wide = fill_model(wide_model)(clips)
    torch.testing.assert_close(square, wide, rtol=0, atol=0)


def test_a_table_that_is_not_square_is_resized_from_its_own_grid():
    model = TimeSformer(
        TimeSformerConfig(dim=192, num_heads=3, depth=1, scheme="space"),
        Options(num_frames=1, height_px=32, width_px=64, num_classes=5),
    ).double()
    for y in range(2):
        for x in range(4):
            model.model.pos_embed.data[0, 1 + 4 * y + x] = 10 * y + x
    places = model.model._places(4, 4)[0, 1:, 0].reshape(4, 4)
    assert places.tolist() == [[0, 1, 2, 3]] * 2 + [[10, 11, 12, 13]] * 2


def test_one_column_of_patches_is_classified():
    model = fill_model(reduced("divided"))
    assert model(clip((1, 3, 2, 64, 16))).shape == (1, 20)


def set_drop_path(model: nn.Module, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, DropPath):
            module.rate = rate


@pytest.mark.parametrize("scheme", ["divided", "joint", "space"])
def test_training_drops_paths_and_reaches_every_parameter(scheme):
    torch.manual_seed(0)
    model = fill_model(reduced(scheme)).train()
    clips = clip((2, 3, 4, 48, 64))
    set_drop_path(model, 0.5)
    assert not torch.equal(model(clips), model(clips))
    assert all(parameter.requires_grad for parameter in model.parameters())
    set_drop_path(model, 0.0)
    model(clips).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_rates_of_dropped_paths_rise_to_a_tenth():
    modules = on_meta("timesformer_tiny").modules()
    rates = [module.rate for module in modules if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * i / 11 for i in range(12)])


def test_attention_over_time_starts_without_effect():
    torch.manual_seed(0)
    model = reduced("divided").eval()
    clips = torch.randn(1, 3, 3, 48, 48)
    block = model.model.blocks[0]
    assert isinstance(block, DividedBlock)
    residual = block._over_time(torch.randn(1, 27, 192), 3)
    assert residual.abs().max() == 0
    assert model(clips).abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_run_at_another_input(dtype):
    model = fill_model(reduced("divided"))
    clips = clip((1, 3, 4, 48, 64))
    with torch.inference_mode():
        exact = model(clips)
        rough = model.to(dtype)(clips.to(dtype))
    assert rough.dtype == dtype
    assert (rough.double() - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("scheme", ["divided", "joint", "space"])
def test_one_graph_holds_the_whole_forward_pass(scheme):
    model = fill_model(reduced(scheme))
    clips = clip((1, 3, 4, 48, 64))
    with torch.inference_mode():
        compiled = torch.compile(model, backend="eager", fullgraph=True)(clips)
        torch.testing.assert_close(compiled, model(clips), rtol=0, atol=1e-12)


def test_what_cannot_be_built_or_classified_is_refused():
    with pytest.raises(UnsupportedInputError, match="at least one patch of 16 px: 8 x 224"):
        create_model("timesformer_tiny", resolution=(8, 224))
    with pytest.raises(UnsupportedInputError, match="at least one patch of 16 px: 32 x 8"):
        reduced("divided")(torch.zeros(1, 3, 2, 32, 8))


def released(model: nn.Module) -> dict[str, Tensor]:
    """Values for every official name."""
    return fill({name: value.float() for name, value in model.state_dict().items()})


def test_a_released_file_loads_as_it_is(tmp_path):
    model = create_model("timesformer_tiny", num_classes=174)
    weights = released(model)
    path = tmp_path / "TimeSformer_divST_8_224_SSv2.pyth"
    torch.save({"epoch": 14, "model_state": weights, "optimizer_state": {}, "cfg": "TRAIN:"}, path)
    report = load_checkpoint(model, path)
    assert report.num_tensors == len(weights) == 249
    assert report.head_loaded
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)


def nearest(length: int, old: int) -> list[int]:
    return [i * old // length for i in range(length)]


def test_tables_of_another_size_are_loaded_as_the_official_loader_does():
    weights = released(create_model("timesformer_tiny", num_frames=8, resolution=224))
    model = create_model("timesformer_tiny", num_frames=12, resolution=160)
    report = load_checkpoint(model, {"model_state": weights})
    places = weights["model.pos_embed"][:, 1:][:, nearest(100, 196)]
    expected = torch.cat((weights["model.pos_embed"][:, :1], places), dim=1)
    state = model.state_dict()
    torch.testing.assert_close(state["model.pos_embed"], expected, rtol=0, atol=0)
    times = weights["model.time_embed"][:, nearest(12, 8)]
    torch.testing.assert_close(state["model.time_embed"], times, rtol=0, atol=0)
    assert sum("resized from" in note for note in report.notes) == 2


@pytest.mark.parametrize("name", ["timesformer_tiny", "timesformer_tiny_joint"])
def test_an_imagenet_vit_starts_a_video_model(name):
    vit = create_model("timesformer_tiny_space", num_classes=1000)
    weights = {k.removeprefix("model."): v for k, v in released(vit).items()}
    weights["patch_embed.proj.weight"] = weights["patch_embed.proj.weight"].flatten(1)
    torch.manual_seed(0)
    model = create_model(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    report = load_checkpoint(model, weights)
    state = model.state_dict()
    assert not report.head_loaded
    kept = {"model.head.weight", "model.head.bias", "model.time_embed"}
    kept |= {k for k in state if "temporal_fc" in k}
    assert set(report.untouched) == kept
    for key in kept:
        torch.testing.assert_close(state[key], before[key], rtol=0, atol=0)
    for key in state.keys() - kept:
        source = key.removeprefix("model.").replace("temporal_attn", "attn")
        value = weights[source.replace("temporal_norm1", "norm1")].reshape(state[key].shape)
        torch.testing.assert_close(state[key], value, rtol=0, atol=0)


def test_a_video_checkpoint_of_another_scheme_or_of_other_classes_is_refused():
    divided = released(create_model("timesformer_tiny"))
    with pytest.raises(CheckpointError, match="96 unexpected"):
        load_checkpoint(create_model("timesformer_tiny_joint"), divided)
    joint = released(create_model("timesformer_tiny_joint"))
    with pytest.raises(CheckpointError, match="96 missing"):
        load_checkpoint(create_model("timesformer_tiny"), joint)
    with pytest.raises(CheckpointError, match=r"wanted \(600, 192\), got \(400, 192\)"):
        load_checkpoint(create_model("timesformer_tiny", num_classes=600), divided)
