from typing import Any

import pytest
import torch
from torch import nn

from model_zoo import UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import Options
from model_zoo.videomamba_image import VideoMambaImage, VideoMambaImageConfig
from model_zoo.weights.tables import resize_2d
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

SIZES = ["tiny", "small", "middle", "base"]
WIDTHS = {"tiny": 192, "small": 384, "middle": 576, "base": 768}
DEPTHS = {"tiny": 24, "small": 24, "middle": 32, "base": 24}


def on_meta(size: str, resolution: int = 224) -> nn.Module:
    with torch.device("meta"):
        return create_model(f"videomamba_image_{size}", resolution=resolution).eval()


def small(height_px: int = 32, width_px: int = 32) -> VideoMambaImage:
    options = Options(num_frames=1, height_px=height_px, width_px=width_px, num_classes=5)
    model = VideoMambaImage(VideoMambaImageConfig(dim=32, depth=2), options)
    fill_model(model)
    return model


@pytest.mark.parametrize("size", SIZES)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(f"videomamba_image__{size}")
    model = on_meta(size)
    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize("resolution", [224, 448])
@pytest.mark.parametrize("size", SIZES)
def test_multiply_adds_are_those_of_the_arithmetic(size, resolution):
    # fvcore's count leaves out the convolution, x_proj, dt_proj and the scan of each direction
    D, E, N, K = WIDTHS[size], 2 * WIDTHS[size], 16, 4
    L, R = 1 + (resolution // 16) ** 2, -(-D // 16)
    direction = L * E * (K + (R + 2 * N) + R + 3 * N + 1)
    block = L * D * 2 * E + L * E * D + 2 * direction
    expected = DEPTHS[size] * block + (L - 1) * 768 * D + D * 1000
    counted = macs(on_meta(size, resolution), [1, 3, 1, resolution, resolution])
    assert counted == expected
    if resolution == 224:
        hidden = DEPTHS[size] * 2 * direction
        golden = facts(f"videomamba_image__{size}")["macs"]["total_without_norms"]
        assert counted - hidden == golden


def points() -> list[Any]:
    return [
        pytest.param(size, point, marks=() if size == "tiny" else pytest.mark.slow, id=size)
        for size in SIZES
        for point in facts(f"videomamba_image__{size}")["points"]
    ]


@pytest.mark.parametrize(("size", "point"), points())
def test_logits_are_the_official_ones(size, point):
    batch, channels, height, width = point["input_shape"]
    # the official input was frame 0 of a clip of that shape
    frame = point | {"input_shape": [batch, channels, 1, height, width]}
    model = create_model(f"videomamba_image_{size}", resolution=height)
    assert_same_logits(logits(model, frame), point["outputs"][0])


def test_every_parameter_learns_that_can():
    model = small().train()
    model(clip((2, 3, 1, 32, 32))).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # the class token is the first that the forward scan meets: the last one has nothing to decay
    assert without == ["layers.1.mixer.A_log"]


def test_frames_need_not_be_square_nor_whole_patches():
    clips = clip((2, 3, 1, 40, 50))
    with torch.inference_mode():
        whole, cropped = small(40, 50)(clips), small(32, 48)(clips[..., :32, :48])
    assert torch.equal(whole, cropped)


def test_an_image_model_takes_one_frame_of_its_size():
    with pytest.raises(UnsupportedInputError, match="1 frame, not: 2"):
        create_model("videomamba_image_tiny", num_frames=2)
    with pytest.raises(UnsupportedInputError, match=r"\(1, 32, 32\), got: \(2, 32, 32\)"):
        small()(clip((1, 3, 2, 32, 32)))
    with pytest.raises(UnsupportedInputError, match="patch of 16 x 16 px"):
        small(8, 32)


def test_a_student_of_distillation_loads_without_its_second_head():
    source, model = small(), small()
    state = source.state_dict() | {
        "distill_head.0.weight": torch.zeros(32, 32),
        "distill_head.1.weight": torch.zeros(32),
        "distill_head.1.bias": torch.zeros(32),
    }
    report = load_checkpoint(model, {"model": state})
    assert report.num_tensors == len(source.state_dict())
    assert report.head_loaded
    assert any("distill_head.1.bias" in note for note in report.notes)


def test_places_are_resized_to_another_frame():
    source, model = small(), small(64, 48)
    report = load_checkpoint(model, source.state_dict())
    assert torch.equal(model.pos_embed, resize_2d(source.pos_embed, (4, 3), num_prefix=1))
    assert report.notes == ("pos_embed resized from 2 x 2 to 4 x 3 places",)
