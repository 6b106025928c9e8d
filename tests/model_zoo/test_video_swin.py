import pytest
import torch
from torch import Tensor, nn

from model_zoo import UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import NumClasses, Options
from model_zoo.video_swin import Size3d, VideoSwin, VideoSwinConfig, windows_of
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import (
    TOLERANCE,
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

SIZES = ["tiny", "small", "base"]
ATTENTIONS = ["eager", "sdpa"]

# Run on the official code: window, clip, first logits, sum, norm. Windows clipped in time and in
# space, rows and frames that patches, windows and merging must pad, shifts along one, two and
# three axes, two clips at once, and the window of the SSv2 model.
OFFICIAL_AT_ODD_SIZES = [
    (
        (8, 7, 7),
        (1, 3, 1, 33, 50),
        [0.3185034121177019, 1.5331371534827267, -0.7418471544421833, 1.3071621856710733],
        11.167022294641558,
        18.76093820749117,
    ),
    (
        (8, 7, 7),
        (2, 3, 18, 70, 62),
        [0.11134397610238005, 1.7846444754723403, -0.5180366003023998, 0.06385128185576913],
        -43.202526665971824,
        23.365494730989603,
    ),
    (
        (8, 7, 7),
        (1, 3, 17, 65, 130),
        [0.056547665598626715, 1.6319317979461545, -0.20592482606265144, 0.2333666250332788],
        -16.6229318272845,
        15.530765025675448,
    ),
    (
        (16, 7, 7),
        (1, 3, 36, 40, 70),
        [0.2412158966227031, 0.7956262919483783, -0.4636526241450031, 0.016617670245917173],
        -14.849528869723992,
        15.775903244555224,
    ),
]


def on_meta(size: str, attention: str = "sdpa") -> nn.Module:
    with torch.device("meta"):
        return create_model(f"video_swin_{size}", attention=attention).eval()


def options_for(num_classes: NumClasses, attention: str = "sdpa") -> Options:
    return Options(
        num_frames=8, height_px=32, width_px=32, num_classes=num_classes, attention=attention
    )


def little(
    *,
    window: Size3d = (2, 3, 3),
    num_classes: NumClasses = 5,
    attention: str = "sdpa",
) -> VideoSwin:
    config = VideoSwinConfig(
        dim=8, depths=(2, 2, 1, 1), num_heads=(1, 2, 2, 4), window=window, drop_path_rate=0.0
    )
    return VideoSwin(config, options_for(num_classes, attention))


@pytest.mark.parametrize("size", SIZES)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(f"videoswin__{size}")
    model = on_meta(size)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


def test_the_window_of_the_ssv2_model_gives_its_official_parameters_and_macs():
    config = VideoSwinConfig(
        dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window=(16, 7, 7)
    )
    with torch.device("meta"):
        model = VideoSwin(config, options_for(174))

    assert sum(p.numel() for p in model.parameters()) == 88_834_038
    assert macs(model, [1, 3, 32, 224, 224]) == 320_945_944_576 - 590_069_760  # but for the norms


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_macs_equal_those_counted_on_the_official_code(size, attention):
    counted = facts(f"videoswin__{size}")["macs"]

    ours = macs(on_meta(size, attention), counted["input"][0])

    assert ours == counted["total_without_norms"]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("size", ["tiny", "small", pytest.param("base", marks=pytest.mark.slow)])
def test_logits_equal_those_of_the_official_code(size, attention):
    for point in facts(f"videoswin__{size}")["points"]:
        model = create_model(f"video_swin_{size}", attention=attention)
        assert_same_logits(logits(model, point), point["outputs"][0])


@pytest.mark.parametrize(("window", "shape", "first", "total", "norm"), OFFICIAL_AT_ODD_SIZES)
def test_logits_equal_those_of_the_official_code_at_sizes_that_windows_do_not_divide(
    window, shape, first, total, norm
):
    model = fill_model(VideoSwin(VideoSwinConfig(window=window), options_for(400)))

    with torch.inference_mode():
        output = model(clip(shape))

    assert output.flatten()[:4].tolist() == pytest.approx(first, rel=0, abs=TOLERANCE)
    assert output.sum().item() == pytest.approx(total, rel=0, abs=1e-7)
    assert output.norm().item() == pytest.approx(norm, rel=0, abs=1e-7)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 3), (3, 4, 7), (5, 9, 2)])
def test_joining_undoes_cutting(size):
    windows = windows_of(size, (2, 3, 3))
    x = torch.randn(2, *size, 4)

    for is_shifted in (False, True):
        cut = windows.cut(x, is_shifted=is_shifted)
        assert torch.equal(windows.join(cut, is_shifted=is_shifted), x)


def test_places_attend_each_other_in_a_shifted_window_only_where_they_are_neighbours():
    windows = windows_of((1, 1, 6), (1, 1, 3))
    place = torch.arange(6.0).reshape(1, 1, 1, 6, 1)

    cut = windows.cut(place, is_shifted=True)[0, :, :, 0]
    mask = windows.mask(place)

    assert cut.tolist() == [[1, 2, 3], [4, 5, 0]]
    assert mask is not None
    assert mask[0].tolist() == [[0, 0, 0]] * 3
    assert mask[1].tolist() == [[0, 0, -100], [0, 0, -100], [-100, -100, 0]]


def test_a_grid_that_one_window_covers_is_not_masked():
    windows = windows_of((2, 3, 1), (2, 3, 3))

    assert windows.shift == (0, 0, 0)
    assert windows.mask(torch.zeros(1)) is None


def test_eager_and_fused_attention_agree_on_masked_windows_of_several_clips():
    clips = clip((3, 3, 9, 50, 43))

    eager, fused = (fill_model(little(attention=name))(clips) for name in ATTENTIONS)

    torch.testing.assert_close(eager, fused, rtol=0, atol=TOLERANCE)


def test_each_clip_of_a_batch_is_classified_by_itself():
    model = fill_model(little())
    clips = clip((3, 3, 9, 50, 43))

    torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]), rtol=0, atol=TOLERANCE)


def test_what_is_not_a_batch_of_clips_is_refused():
    with pytest.raises(UnsupportedInputError, match=r"not of shape: \(3, 8, 32, 32\)"):
        little()(torch.zeros(3, 8, 32, 32))


def test_gradients_reach_every_parameter():
    model = little().train()

    model(clip((2, 3, 9, 50, 43)).float()).square().mean().backward()

    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_gives_about_the_same_logits(precision):
    model = fill_model(little())
    clips = clip((2, 3, 9, 50, 43))
    exact = model(clips)

    rough = model.to(precision)(clips.to(precision))

    assert rough.dtype == precision
    torch.testing.assert_close(rough.double(), exact, rtol=0.1, atol=0.1)


def test_the_model_compiles_without_graph_breaks():
    model = little().eval()
    clips = clip((1, 3, 9, 50, 43)).float()

    compiled = torch.compile(model, fullgraph=True, backend="eager")

    torch.testing.assert_close(compiled(clips), model(clips))


def test_a_released_file_loads_unchanged():
    weights = fill_model(little()).state_dict()
    model = little().double()

    report = load_checkpoint(model, {"meta": {"epoch": 30}, "state_dict": weights})

    assert report.head_loaded
    assert report.untouched == ()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def image_weights(model: VideoSwin, side: int) -> dict[str, Tensor]:
    """What the image Swin of the same dimensions and windows of `side` would hold."""
    weights = {"head.weight": torch.zeros(9, 4), "head.bias": torch.zeros(9)}
    for name, value in model.backbone.state_dict().items():
        if name == "patch_embed.proj.weight":
            weights[name] = torch.randn_like(value[:, :, 0])
        elif name.endswith(".relative_position_bias_table"):
            weights[name] = torch.randn((2 * side - 1) ** 2, value.shape[1])
        elif name.endswith(".relative_position_index"):
            weights[name] = torch.zeros(side**2, side**2, dtype=torch.int64)
        else:
            weights[name] = torch.randn_like(value)
    weights["layers.0.blocks.1.attn_mask"] = torch.zeros(4, side**2, side**2)
    return weights


def test_an_image_models_weights_are_inflated_and_its_head_left_out():
    model = little()
    weights = image_weights(model, side=3)
    kept = model.state_dict()["backbone.layers.0.blocks.0.attn.relative_position_index"].clone()

    report = load_checkpoint(model, {"model": weights})

    own = model.state_dict()
    kernel, table = "patch_embed.proj.weight", "layers.1.blocks.0.attn.relative_position_bias_table"
    for frame in own[f"backbone.{kernel}"].unbind(2):
        torch.testing.assert_close(frame, weights[kernel] / 2)
    for offset in own[f"backbone.{table}"].reshape(3, 25, -1):
        assert torch.equal(offset, weights[table])
    assert torch.equal(own["backbone.layers.0.blocks.0.attn.relative_position_index"], kept)
    assert torch.equal(own["backbone.norm.weight"], weights["norm.weight"])
    assert not report.head_loaded
    assert any("3 temporal offsets" in note for note in report.notes)


def test_bias_tables_of_smaller_image_windows_are_resized_as_images():
    model = little(window=(2, 3, 3))
    weights = image_weights(model, side=2)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"

    load_checkpoint(model, {"model": weights})

    image = weights[name].T.reshape(1, 1, 3, 3)
    resized = nn.functional.interpolate(image, size=(5, 5), mode="bicubic").flatten()
    for offset in model.state_dict()[f"backbone.{name}"].reshape(3, 25):
        torch.testing.assert_close(offset, resized)
