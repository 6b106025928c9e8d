import pytest
import torch
from torch import Tensor

from model_zoo import CheckpointError, UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import Options
from model_zoo.kernels.selective_scan import multiply_adds
from model_zoo.vim import Vim, VimConfig
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import TOLERANCE, macs

NUM_PARAMETERS = {"tiny": 7_148_008, "small": 25_796_584}  # of the official classes
WIDTHS = {"tiny": 192, "small": 384}

# Run on the official code with its reference scan: width, stride, frame, first logits, sum, norm.
OFFICIAL = [
    (
        192,
        16,
        (80, 83),
        [0.07959948035515552, -0.3871145797097415, 0.9025291378538786, -0.3850521370898685],
        51.915709432159275,
        31.38691227871384,
    ),
    (
        384,
        16,
        (64, 64),
        [-0.37048111926495214, 1.3991302087737587, -1.293876727282691, 0.7271430413437467],
        -31.70891888587306,
        31.819530900098567,
    ),
    (
        192,
        8,
        (56, 48),
        [-0.41605743647341675, -0.8683057565194371, 0.6755273831044852, 0.3152990796842706],
        7.415226318491369,
        31.475077820393842,
    ),
]


def options_for(
    height_px: int, width_px: int, *, num_frames: int = 1, num_classes: int = 1000
) -> Options:
    return Options(
        num_frames=num_frames, height_px=height_px, width_px=width_px, num_classes=num_classes
    )


def little(height_px: int = 48, width_px: int = 64, **options: int) -> Vim:
    return Vim(VimConfig(dim=32, depth=2), options_for(height_px, width_px, **options))


@pytest.mark.parametrize("size", NUM_PARAMETERS)
def test_the_number_of_parameters_is_the_official_one(size):
    with torch.device("meta"):
        model = create_model(f"vim_{size}")

    assert sum(p.numel() for p in model.parameters()) == NUM_PARAMETERS[size]
    assert len(model.state_dict()) == 415


def test_parameters_have_the_official_names():
    with torch.device("meta"):
        names = {n.replace("layers.0.", "") for n in create_model("vim_tiny").state_dict()}

    block = {f"mixer.{name}" for name in ("A_log", "A_b_log", "D", "D_b")}
    for layer in ("conv1d", "conv1d_b", "dt_proj", "dt_proj_b"):
        block |= {f"mixer.{layer}.weight", f"mixer.{layer}.bias"}
    for layer in ("in_proj", "x_proj", "x_proj_b", "out_proj"):
        block.add(f"mixer.{layer}.weight")
    outside = {"cls_token", "pos_embed", "norm_f.weight", "head.weight", "head.bias"}
    outside |= {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert {n for n in names if not n.startswith("layers.")} == block | {"norm.weight"} | outside


@pytest.mark.parametrize("size", WIDTHS)
def test_macs_equal_arithmetic(size):
    dim, depth, length = WIDTHS[size], 24, 197
    inner, rank, states = 2 * dim, dim // 16, 16
    projections = length * (3 * dim * inner + 2 * (inner * (rank + 2 * states) + rank * inner))
    convolutions = 2 * 4 * length * inner
    scans = multiply_adds((2, 1, length, inner), states)
    ends = 196 * 3 * 16 * 16 * dim + dim * 1000
    with torch.device("meta"):
        model = create_model(f"vim_{size}")

    ours = macs(model, [1, 3, 1, 224, 224])

    assert ours == pytest.approx(depth * (projections + convolutions + scans) + ends, rel=1e-6)


@pytest.mark.parametrize(("dim", "stride", "frame", "first", "total", "norm"), OFFICIAL)
def test_logits_equal_those_of_the_official_code(dim, stride, frame, first, total, norm):
    model = fill_model(Vim(VimConfig(dim=dim, stride_px=stride), options_for(*frame)))

    with torch.inference_mode():
        output = model(clip((1, 3, 1, *frame)))

    assert output.flatten()[:4].tolist() == pytest.approx(first, rel=0, abs=TOLERANCE)
    assert output.sum().item() == pytest.approx(total, rel=0, abs=1e-7)
    assert output.norm().item() == pytest.approx(norm, rel=0, abs=1e-7)


def test_videos_and_frames_without_a_patch_are_refused():
    with pytest.raises(UnsupportedInputError, match="1 frame, not: 8"):
        little(num_frames=8)
    with pytest.raises(UnsupportedInputError, match="16 x 16 px, got: 48 x 15"):
        little(48, 15)
    with pytest.raises(UnsupportedInputError, match="built for"):
        little()(torch.zeros(1, 3, 1, 64, 48))


def test_gradients_reach_every_parameter():
    model = little().train()

    model(clip((2, 3, 1, 48, 64)).float()).square().mean().backward()

    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_new_models_steps_are_within_mambas_range():
    model = little()

    biases = [p for name, p in model.named_parameters() if name.endswith("dt_proj_b.bias")]
    assert len(biases) == 2
    for bias in biases:
        steps = torch.nn.functional.softplus(bias)
        assert 0.00099 < steps.min() < steps.max() < 0.101


def released(model: Vim) -> dict[str, dict[str, Tensor]]:
    return {"model": fill_model(model).state_dict()}


def test_a_released_file_loads_unchanged():
    file = released(little())
    model = little().double()

    assert load_checkpoint(model, file).head_loaded
    for name, value in model.state_dict().items():
        assert torch.equal(value, file["model"][name]), name


def test_the_table_of_a_square_file_is_resized_as_the_official_loader_does():
    file = released(little(64, 64))
    model = little(48, 80).double()

    report = load_checkpoint(model, file)

    table = file["model"]["pos_embed"]
    image = table[:, 1:].reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    image = torch.nn.functional.interpolate(image, size=(3, 5), mode="bicubic")
    torch.testing.assert_close(model.pos_embed[:, 1:], image.flatten(2).transpose(1, 2))
    torch.testing.assert_close(model.pos_embed[:, :1], table[:, :1])
    assert report.notes[-1] == "pos_embed resized from 4 x 4 to 3 x 5 patches"


def test_a_table_that_is_not_square_is_refused():
    with pytest.raises(CheckpointError, match="pos_embed"):
        load_checkpoint(little(64, 64), released(little(48, 80)))
