import pytest
import torch
from torch import nn

from model_zoo import UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import NumClasses, Options
from model_zoo.mvitv2 import MViTv2, MViTv2Config, offset_rows
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import (
    TOLERANCE,
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

FACTS = {"small": "mvitv2__s_16x4", "base": "mvitv2__b_32x3"}
ATTENTIONS = ["eager", "sdpa"]

# Run on the official code: size, frames and side built for, clip, first logits, sum, norm. Grids
# that pooling rounds up where the tables are sized by rounding down, ratios of queries to keys
# that float32 cannot hold, and clips short of the last patch.
OFFICIAL_AT_ODD_SIZES = [
    (
        "small",
        (2, 36),
        (1, 3, 2, 36, 36),
        [-0.3526823717479967, -1.9306196881366222, 1.0687853209310074, -0.9639246671982128],
        -7.265817613476645,
        19.88555175291039,
    ),
    (
        "small",
        (4, 76),
        (1, 3, 4, 76, 76),
        [-1.0634831858130345, 1.3024074941865018, 0.617524438555613, -1.0179201723716353],
        17.852449239564212,
        20.644234542000923,
    ),
    (
        "small",
        (4, 64),
        (1, 3, 3, 61, 63),
        [0.28707821808196676, -1.1263179584271037, 1.1531117124162167, -0.16132717791644785],
        -18.86633140052204,
        21.93545527266222,
    ),
    (
        "base",
        (4, 68),
        (2, 3, 4, 68, 68),
        [0.6766280725380625, 0.8601450775526989, -2.711026051361013, -0.5453268585773713],
        -26.743309195127743,
        28.162046508396067,
    ),
]


def on_meta(size: str, attention: str = "sdpa") -> nn.Module:
    with torch.device("meta"):
        return create_model(f"mvitv2_{size}", attention=attention).eval()


def little(
    *,
    num_frames: int = 4,
    height_px: int = 44,
    width_px: int = 44,
    num_classes: NumClasses = 5,
    attention: str = "sdpa",
) -> MViTv2:
    config = MViTv2Config(dim=8, depth=4, widening=(1, 3), drop_path_rate=0.0)
    options = Options(
        num_frames=num_frames,
        height_px=height_px,
        width_px=width_px,
        num_classes=num_classes,
        attention=attention,
    )
    return MViTv2(config, options)


@pytest.mark.parametrize("size", FACTS)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(FACTS[size])
    model = on_meta(size)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("size", FACTS)
def test_macs_equal_those_counted_on_the_official_code(size, attention):
    counted = facts(FACTS[size])["macs"]

    ours = macs(on_meta(size, attention), counted["input"][0][0])

    assert ours == pytest.approx(counted["total_without_norms"], rel=1e-6)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_logits_equal_those_of_the_official_code(attention):
    for point in facts(FACTS["small"])["points"]:
        _, _, num_frames, *resolution = point["input_shape"]
        model = create_model(
            "mvitv2_small",
            num_frames=num_frames,
            resolution=tuple(resolution),
            attention=attention,
        )
        assert_same_logits(logits(model, point), point["outputs"][0])


@pytest.mark.parametrize(
    ("size", "built", "shape", "first", "total", "norm"), OFFICIAL_AT_ODD_SIZES
)
def test_logits_equal_those_of_the_official_code_at_sizes_that_pooling_does_not_divide(
    size, built, shape, first, total, norm
):
    num_frames, side_px = built
    model = fill_model(create_model(f"mvitv2_{size}", num_frames=num_frames, resolution=side_px))

    with torch.inference_mode():
        output = model(clip(shape))

    assert output.flatten()[:4].tolist() == pytest.approx(first, rel=0, abs=TOLERANCE)
    assert output.sum().item() == pytest.approx(total, rel=0, abs=1e-7)
    assert output.norm().item() == pytest.approx(norm, rel=0, abs=1e-7)


def test_queries_look_up_keys_by_their_distance_in_the_finer_grid():
    assert offset_rows(4, 2).tolist() == [[2, 0], [3, 1], [4, 2], [5, 3]]
    assert offset_rows(2, 4).tolist() == [[3, 2, 1, 0], [5, 4, 3, 2]]


def test_distances_are_rounded_in_single_precision_as_in_the_official_code():
    rows = offset_rows(53, 7)

    query, key = torch.arange(53)[:, None], torch.arange(7)
    exact = query + (6 - key) * 53 // 7
    one_below = exact - rows
    assert one_below.unique().tolist() == [0, 1]
    assert one_below.sum() == 52


def test_rows_do_not_depend_on_the_default_precision():
    expected = offset_rows(53, 7)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(offset_rows(53, 7), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_eager_and_fused_attention_agree_on_several_clips():
    clips = clip((2, 3, 4, 44, 44))

    eager, fused = (fill_model(little(attention=name))(clips) for name in ATTENTIONS)

    torch.testing.assert_close(eager, fused, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("num_frames", "height_px", "width_px"),
    [(3, 44, 44), (4, 42, 42), (4, 44, 48), (4, 12, 12)],
)
def test_clips_that_the_official_code_cannot_take_are_refused(num_frames, height_px, width_px):
    wanted = r"2 frames and square clips of a multiple of 4 px, at least 16 px: "
    with pytest.raises(UnsupportedInputError, match=f"{wanted}{num_frames} x {height_px} x"):
        little(num_frames=num_frames, height_px=height_px, width_px=width_px)


@pytest.mark.parametrize("shape", [(6, 44, 44), (4, 40, 44), (4, 44, 49)])
def test_clips_of_another_grid_than_built_for_are_refused(shape):
    with pytest.raises(UnsupportedInputError, match=r"built for .* \(4, 44, 44\), got: \("):
        little()(torch.zeros(1, 3, *shape))


def test_gradients_reach_every_parameter_that_the_class_token_depends_on():
    model = little().train()

    model(clip((2, 3, 4, 44, 44)).float()).square().mean().backward()

    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # The class token, all that leaves the last block, is neither pooled nor has it a place.
    last = "blocks.3.attn"
    assert without == [f"{last}.rel_pos_{axis}" for axis in "hwt"] + [f"{last}.pool_q.weight"]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_gives_about_the_same_logits(precision):
    model = fill_model(little())
    clips = clip((2, 3, 4, 44, 44))
    exact = model(clips)

    rough = model.to(precision)(clips.to(precision))

    assert rough.dtype == precision
    torch.testing.assert_close(rough.double(), exact, rtol=0.1, atol=0.1)


def test_the_model_compiles_without_graph_breaks():
    model = little().eval()
    clips = clip((1, 3, 4, 44, 44)).float()

    compiled = torch.compile(model, fullgraph=True, backend="eager")

    torch.testing.assert_close(compiled(clips), model(clips))


def test_a_released_file_loads_unchanged():
    weights = fill_model(little()).state_dict()
    model = little().double()

    report = load_checkpoint(model, {"model_state": weights, "epoch": 200, "cfg": "a: 1"})

    assert report.head_loaded
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_tables_of_another_clip_size_are_resized_linearly():
    weights = little(num_frames=8, height_px=64, width_px=64).state_dict()
    model = little()

    report = load_checkpoint(model, {"model_state": weights})

    for axis in "thw":
        name = f"blocks.0.attn.rel_pos_{axis}"
        own = model.state_dict()[name]
        expected = nn.functional.interpolate(weights[name].T[None], len(own), mode="linear")[0].T
        torch.testing.assert_close(own, expected)
    assert torch.equal(model.state_dict()["blocks.1.proj.weight"], weights["blocks.1.proj.weight"])
    assert any("resized linearly" in note for note in report.notes)
