import pytest
import torch

from model_zoo import UnsupportedInputError, create_model
from model_zoo._registry import Options
from model_zoo.slow import Slow, SlowConfig
from tests.model_zoo.convnets import (
    assert_caffe2_file_loads,
    assert_gradients_reach_every_parameter,
    assert_measured_logits,
    assert_pytorchvideo_file_gives_its_logits,
    on_meta,
)
from tests.model_zoo.reference import assert_same_names_and_shapes, facts, macs

GOLDEN = facts("slow__r50_8x8")


def small(side_px: int = 64, num_frames: int = 4) -> Slow:
    config = SlowConfig(temporal_kernels=((1,), (1,), (3,), (3,)))
    options = Options(num_frames=num_frames, height_px=side_px, width_px=side_px, num_classes=5)
    return Slow(config, options).eval()


def test_parameters_have_the_official_names_shapes_and_number():
    model = on_meta("slow_r50_8x8")
    assert_same_names_and_shapes(model, GOLDEN)
    assert sum(p.numel() for p in model.parameters()) == GOLDEN["params"]


@pytest.mark.parametrize(("side_px", "official"), [(224, 41_740_828_672), (256, 54_520_840_192)])
def test_macs_equal_those_counted_on_the_official_code_also_where_the_window_slides(
    side_px, official
):
    assert macs(on_meta("slow_r50_8x8"), [1, 3, 8, side_px, side_px]) == official


def test_logits_equal_those_of_the_official_code():
    assert_measured_logits("slow_r50_8x8")


def test_a_clip_larger_than_the_training_crop_is_tested_densely_as_officially():
    clips = torch.randn(1, 3, 4, 256, 256)
    model = small(224)
    larger = small(256)
    larger.load_state_dict(model.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(larger(clips), model(clips), rtol=0, atol=0)
        assert model.head.windows == larger.head.windows == ((4, 7, 7),)


def test_the_window_of_a_smaller_model_fits_its_shorter_side():
    with torch.device("meta"):
        options = Options(num_frames=3, height_px=100, width_px=160, num_classes=400)
        model = Slow(SlowConfig(), options)
        assert model.head.windows == ((3, 3, 3),)
        assert model(torch.empty(2, 3, 3, 100, 160)).shape == (2, 400)


def test_too_small_clips_are_refused_with_what_is_allowed():
    with pytest.raises(UnsupportedInputError, match="at least 32 px a side, not 31"):
        create_model("slow_r50_8x8", resolution=(64, 31))
    with pytest.raises(UnsupportedInputError, match="clip too small") as caught:
        small(64)(torch.zeros(1, 3, 4, 32, 64))
    assert "resolution" in str(caught.value.hint)


def test_training_reaches_every_parameter_and_gives_one_row_of_logits_a_clip():
    model = small(32)
    assert model.train()(torch.randn(2, 3, 5, 64, 64)).shape == (2, 5)
    assert_gradients_reach_every_parameter(model, torch.randn(2, 3, 4, 32, 32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs_on_a_cpu(dtype):
    with torch.inference_mode():
        logits = small(32).to(dtype)(torch.randn(1, 3, 4, 64, 64, dtype=dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()


def test_caffe2_pickles_load():
    assert_caffe2_file_loads(small(), small())


def test_pytorchvideos_file_gives_pytorchvideos_logits():
    assert_pytorchvideo_file_gives_its_logits("slow_r50_8x8")
