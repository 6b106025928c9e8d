import pytest
import torch
from torch import Tensor, nn

from model_zoo import CheckpointError, UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import NumClasses, Options
from model_zoo.uniformer import UniFormer, UniFormerConfig
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import (
    TOLERANCE,
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

SIZES = ["small", "base"]
ATTENTIONS = ["eager", "sdpa"]

# Run on the official code at sizes that its strides do not divide: first logits, sum, norm.
OFFICIAL_AT_ODD_SIZES = {
    (1, 3, 1, 32, 32): (
        [1.9348046456881165, -1.572702164237609, -1.0434997136628028, -3.79307878740017],
        -2.117587916803555,
        42.90754691829939,
    ),
    (2, 3, 7, 99, 64): (
        [0.9673498631916243, 0.5733209402112033, -1.5439165109822381, -2.818938252140944],
        -20.462518966425723,
        49.59835674358813,
    ),
}


def on_meta(size: str, attention: str = "sdpa") -> nn.Module:
    with torch.device("meta"):
        return create_model(f"uniformer_{size}", attention=attention).eval()


def tiny(*, side_px: int = 32, num_classes: NumClasses = 5) -> UniFormer:
    config = UniFormerConfig(dims=(8, 8, 16, 32), depths=(1, 1, 2, 1), head_dim=8)
    options = Options(
        num_frames=4,
        height_px=side_px,
        width_px=side_px,
        num_classes=num_classes,
    )
    return UniFormer(config, options)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(f"uniformer__{size}")
    model = on_meta(size)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_macs_equal_those_counted_on_the_official_code(size, attention):
    counted = facts(f"uniformer__{size}")["macs"]

    ours = macs(on_meta(size, attention), counted["input"][0][0])

    assert ours == counted["total_without_norms"]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_logits_equal_those_of_the_official_code(size, attention):
    for point in facts(f"uniformer__{size}")["points"]:
        model = create_model(f"uniformer_{size}", attention=attention)
        assert_same_logits(logits(model, point), point["outputs"][0])


@pytest.mark.parametrize(("shape", "expected"), OFFICIAL_AT_ODD_SIZES.items())
def test_logits_equal_those_of_the_official_code_at_sizes_that_strides_do_not_divide(
    shape, expected
):
    first, total, norm = expected
    model = fill_model(create_model("uniformer_small", num_frames=shape[2], resolution=shape[3:]))

    with torch.inference_mode():
        output = model(clip(shape))

    assert output.flatten()[:4].tolist() == pytest.approx(first, rel=0, abs=TOLERANCE)
    assert output.sum().item() == pytest.approx(total, rel=0, abs=1e-7)
    assert output.norm().item() == pytest.approx(norm, rel=0, abs=1e-7)


def test_clips_smaller_than_the_strides_are_refused():
    with pytest.raises(UnsupportedInputError, match="at least 32 px: 31 x 31"):
        tiny(side_px=31)
    with pytest.raises(UnsupportedInputError, match="at least 32 px: 32 x 16"):
        tiny()(torch.zeros(1, 3, 4, 32, 16))


def test_gradients_reach_every_parameter():
    model = tiny().train()

    model(clip((2, 3, 4, 32, 48)).float()).square().mean().backward()

    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_half_precision_gives_about_the_same_logits():
    model = fill_model(tiny())
    clips = clip((2, 3, 4, 32, 48))
    exact = model(clips)

    rough = model.to(torch.bfloat16)(clips.to(torch.bfloat16))

    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.double(), exact, rtol=0.1, atol=0.1)


def test_the_model_compiles_without_graph_breaks():
    model = tiny().eval()
    clips = clip((1, 3, 4, 32, 48)).float()

    compiled = torch.compile(model, fullgraph=True, backend="eager")

    torch.testing.assert_close(compiled(clips), model(clips))


def image_weights(model: nn.Module) -> dict[str, Tensor]:
    """What the image model of the same dimensions would hold."""
    return {
        name: value[:, :, 0].clone() + 1 if value.ndim == 5 else value.clone() + 1
        for name, value in model.state_dict().items()
    }


def test_an_image_models_kernels_are_spread_over_frames_and_its_head_left_out():
    model = tiny()
    weights = image_weights(tiny(num_classes=7))
    head = model.head.weight.detach().clone()

    report = load_checkpoint(model, {"model": weights})

    for name in ("patch_embed1.proj.weight", "blocks1.0.attn.weight", "blocks3.1.pos_embed.weight"):
        kernel = model.state_dict()[name]
        expected = weights[name] / kernel.shape[2]
        for frame in kernel.unbind(2):
            torch.testing.assert_close(frame, expected)
    torch.testing.assert_close(model.norm.running_var, weights["norm.running_var"])
    assert torch.equal(model.head.weight, head)
    assert report.untouched == ("head.weight", "head.bias")
    assert any("head of 7 classes" in note for note in report.notes)


def test_an_image_models_head_of_as_many_classes_is_kept():
    model = tiny()
    weights = image_weights(tiny())

    assert load_checkpoint(model, {"model": weights}).head_loaded
    torch.testing.assert_close(model.head.weight.detach(), weights["head.weight"])


def test_a_video_models_head_of_other_classes_is_refused():
    with pytest.raises(CheckpointError, match=r"head\.weight"):
        load_checkpoint(tiny(), tiny(num_classes=7).state_dict())
