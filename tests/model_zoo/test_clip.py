import pytest
import torch

import model_zoo
from model_zoo import CheckpointError, UnsupportedInputError, load_checkpoint
from model_zoo.clip import Clip, ClipConfig
from tests.detfill import clip, fill_model
from tests.model_zoo import towers
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

VARIANTS = {
    "clip_vit_base_16": "clip__vitb16_visual",
    "clip_vit_large_14": "clip__vitl14_visual",
    "clip_vit_large_14_336": "clip__vitl14_336_visual",
}


@pytest.mark.parametrize(("name", "golden"), VARIANTS.items())
def test_a_variant_has_the_official_parameters_and_operations(name, golden):
    official = facts(golden)
    with torch.device("meta"):
        model = model_zoo.create_model(name)
    assert_same_names_and_shapes(model, official)
    assert towers.num_parameters(model) == official["params"]
    _, _, height, width = official["macs"]["input_shape"]
    counted = macs(model, [1, 3, 1, height, width])
    assert counted == pytest.approx(official["macs"]["matmul_like_only"], rel=1e-3)


@pytest.mark.parametrize(
    "name", ["clip_vit_base_16", pytest.param("clip_vit_large_14", marks=pytest.mark.slow)]
)
def test_embeddings_are_the_official_ones(name):
    (point,) = facts(VARIANTS[name])["points"]
    model = model_zoo.create_model(name, resolution=point["input_shape"][-1])
    assert_same_logits(logits(model, point), point["outputs"][0])


def test_eager_and_fused_attention_agree():
    state, image = towers.tower().state_dict(), towers.tiny_clip(1)
    embeddings = []
    for attention in ("eager", "sdpa"):
        model = Clip(_CONFIG, towers.options(1, num_classes=towers.DIM, attention=attention))
        model.double().load_state_dict(state)
        embeddings.append(model(image))
    torch.testing.assert_close(*embeddings, rtol=0, atol=1e-12)


_CONFIG = ClipConfig(dim=towers.DIM, depth=towers.DEPTH, num_heads=towers.NUM_HEADS)


def test_rows_and_columns_short_of_a_patch_are_left_out():
    image = clip((1, 3, 1, 39, 47))
    outputs = [
        fill_model(
            Clip(
                _CONFIG,
                model_zoo.Options(num_frames=1, height_px=height, width_px=width, num_classes=8),
            )
        )(image[..., :height, :width])
        for height, width in ((39, 47), (32, 32))
    ]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_come_close_to_the_full_precision(dtype):
    model, image = towers.tower(), towers.tiny_clip(1)
    full = model(image)
    half = model.to(dtype)(image.to(dtype))
    assert half.dtype == dtype
    assert (half.double() - full).abs().max() < 0.1


def test_the_whole_model_compiles_without_a_graph_break():
    model, image = towers.tower(), towers.tiny_clip(1)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(image), model(image))


def test_a_gradient_reaches_every_parameter():
    model = towers.tower()
    assert towers.reached_by_gradient(model, towers.tiny_clip(1)) == set(model.state_dict())


def test_a_clip_of_several_frames_is_refused():
    with pytest.raises(UnsupportedInputError, match="clips of 1 frame, not: 8"):
        model_zoo.create_model("clip_vit_base_16", num_frames=8)


def test_another_size_than_the_positions_is_refused():
    with pytest.raises(UnsupportedInputError, match=r"\(1, 32, 32\), got: \(1, 48, 32\)"):
        towers.tower()(torch.zeros(1, 3, 1, 48, 32, dtype=torch.float64))
    with pytest.raises(UnsupportedInputError, match=r"\(B, 3, T, H, W\), not of shape"):
        towers.tower()(torch.zeros(1, 3, 32, 32, dtype=torch.float64))


def test_a_frame_smaller_than_a_patch_is_refused():
    with pytest.raises(UnsupportedInputError, match="a patch of 16 x 16 px, got: 8 x 8"):
        model_zoo.create_model("clip_vit_base_16", resolution=8)


@pytest.mark.parametrize("with_text", [True, False])
def test_an_archive_loads_with_or_without_its_text_tower(with_text):
    source = towers.tower()
    halves = {name: tensor.half() for name, tensor in towers.archive(source).items()}
    if not with_text:
        halves = {
            name.removeprefix("visual."): tensor
            for name, tensor in halves.items()
            if name.startswith("visual.")
        }
    model = Clip(_CONFIG, towers.options(1, num_classes=towers.DIM))
    report = load_checkpoint(model, halves)
    assert report.num_tensors == len(source.state_dict())
    assert report.head_loaded
    assert any("text tower" in note for note in report.notes) == with_text
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.half().float()), name


def test_an_archive_that_lacks_an_entry_changes_nothing():
    halves = towers.archive(towers.tower())
    del halves["visual.ln_post.bias"]
    model = Clip(_CONFIG, towers.options(1, num_classes=towers.DIM))
    before = model.conv1.weight.clone()
    with pytest.raises(CheckpointError, match=r"1 missing: ln_post\.bias"):
        load_checkpoint(model, halves)
    assert torch.equal(model.conv1.weight, before)
