import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model_zoo import create_model
from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Options
from model_zoo.layers.pos_embed import sinusoid_table
from model_zoo.layers.tubelet_vit import TubeletViTConfig
from model_zoo.umt import UMT
from model_zoo.weights import load_checkpoint
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

VARIANTS = [(size, num_frames) for size in ("base", "large") for num_frames in (8, 16)]


def on_meta(size: str, num_frames: int) -> nn.Module:
    with torch.device("meta"):
        return create_model(f"umt_{size}", num_frames=num_frames)


def tiny(
    num_frames: int, side_px: int, *, num_classes: int = 5, width_px: int | None = None
) -> UMT:
    config = TubeletViTConfig(dim=24, depth=2, num_heads=3, mlp_dim=48, tubelet_frames=1)
    options = Options(
        num_frames=num_frames,
        height_px=side_px,
        width_px=width_px or side_px,
        num_classes=num_classes,
    )
    return UMT(config, options)


@pytest.mark.parametrize(("size", "num_frames"), VARIANTS)
def test_parameters_have_the_official_names_shapes_and_number(size, num_frames):
    golden = facts(f"umt__{size}_f{num_frames}")
    model = on_meta(size, num_frames)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize(("size", "num_frames"), VARIANTS)
def test_macs_equal_those_counted_on_the_official_code(size, num_frames):
    counted = facts(f"umt__{size}_f{num_frames}")["macs"]

    ours = macs(on_meta(size, num_frames), counted["input"][0])

    assert ours == pytest.approx(counted["total_without_norms"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base_f8", "base_f16", "large_f8", "large_f16"])
def test_logits_equal_those_of_the_official_code(name):
    for point in facts(f"umt__{name}")["points"]:
        _, _, num_frames, *resolution = point["input_shape"]
        model = create_model(
            f"umt_{name.partition('_')[0]}", num_frames=num_frames, resolution=tuple(resolution)
        )
        assert_same_logits(logits(model, point), point["outputs"][0])


def test_positions_of_the_released_clip_are_the_plain_sinusoid_outside_the_checkpoint():
    model = tiny(8, 224)

    assert torch.equal(model.pos_embed, sinusoid_table(1568, 24))
    assert "pos_embed" not in model.state_dict()


def test_positions_of_other_clips_are_resized_in_space_then_in_time():
    model = tiny(4, 96)

    frames = sinusoid_table(1568, 24).reshape(8, 14, 14, 24).permute(0, 3, 1, 2)
    frames = F.interpolate(frames, size=(6, 6), mode="bicubic")  # (8, 24, 6, 6)
    moments = frames.permute(1, 2, 3, 0).reshape(24, 36, 8)
    moments = F.interpolate(moments, size=4, mode="linear")  # (24, 36, 4)
    expected = moments.permute(2, 1, 0).reshape(1, 144, 24)
    assert model.state_dict()["pos_embed"].shape == (1, 144, 24)
    assert (model.pos_embed - expected).abs().max() < 1e-6


def test_as_many_tokens_as_in_pre_training_keep_the_resized_positions_out_of_the_checkpoint():
    model = tiny(32, 112)  # 32 x 7 x 7 = 8 x 14 x 14

    assert "pos_embed" not in model.state_dict()
    assert not torch.equal(model.pos_embed, sinusoid_table(1568, 24))


def test_frames_that_are_not_square_are_refused():
    with pytest.raises(UnsupportedInputError, match="not 2 and 3"):
        tiny(8, 32, width_px=48)


def test_the_head_for_710_classes_is_cut_to_the_first_400():
    source = tiny(8, 224, num_classes=710).state_dict()
    model = tiny(8, 224, num_classes=400)

    report = load_checkpoint(model, source)

    assert report.head_loaded
    assert torch.equal(model.head.weight, source["head.weight"][:400])
    assert torch.equal(model.head.bias, source["head.bias"][:400])


def test_a_file_without_positions_leaves_those_of_the_clip():
    model = tiny(16, 224)
    own = model.pos_embed.clone()

    report = load_checkpoint(model, tiny(8, 224).state_dict())

    assert report.untouched == ("pos_embed",)
    assert torch.equal(model.pos_embed, own)


def test_positions_of_a_file_are_resized_in_time_then_in_space():
    source = tiny(8, 64).state_dict()
    source["pos_embed"] = torch.randn(1, 8 * 4 * 4, 24, generator=torch.Generator().manual_seed(0))
    model = tiny(6, 96)

    load_checkpoint(model, source)

    moments = source["pos_embed"].reshape(8, 16, 24).permute(1, 2, 0)  # (16, 24, 8)
    moments = F.interpolate(moments, size=6, mode="linear")
    frames = moments.permute(2, 1, 0).reshape(6, 24, 4, 4)
    frames = F.interpolate(frames, size=(6, 6), mode="bicubic")
    expected = frames.flatten(2).transpose(1, 2).reshape(1, 216, 24)
    assert (model.pos_embed - expected).abs().max() < 1e-6


def test_the_released_file_of_16_frames_also_fits_32_and_8():
    source = tiny(16, 224).state_dict()
    longer = tiny(32, 224)

    load_checkpoint(longer, source)
    report = load_checkpoint(tiny(8, 224), source)

    moments = source["pos_embed"].reshape(16, 196, 24).permute(1, 2, 0)  # (196, 24, 16)
    moments = F.interpolate(moments, size=32, mode="linear")
    expected = moments.permute(2, 0, 1).reshape(1, 6272, 24)
    assert (longer.pos_embed - expected).abs().max() < 1e-6
    assert any("pos_embed dropped" in note for note in report.notes)
