from typing import Any

import pytest
import torch
from torch import nn

from model_zoo import create_model
from model_zoo._errors import CheckpointError
from model_zoo._registry import Options
from model_zoo.layers.tubelet_vit import TubeletViTConfig
from model_zoo.videomaev2 import VideoMAEv2
from model_zoo.weights import load_checkpoint, released_checkpoints
from tests.detfill import fill_model
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)
from vbench.accuracy import label_space

SIZES = ("small", "base", "giant")


def on_meta(size: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(f"videomaev2_{size}")


def tiny(num_classes: int) -> Any:
    config = TubeletViTConfig(dim=24, depth=2, num_heads=3, mlp_dim=48, patch_px=14)
    options = Options(num_frames=4, height_px=28, width_px=28, num_classes=num_classes)
    return VideoMAEv2(config, options)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(f"videomaev2__{size}")
    model = on_meta(size)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize("size", SIZES)
def test_macs_equal_those_counted_on_the_official_code(size):
    counted = facts(f"videomaev2__{size}")["macs"]

    ours = macs(on_meta(size), counted["input"][0])

    assert ours == pytest.approx(counted["total_without_norms"], rel=1e-3)


@pytest.mark.parametrize("size", ["small", pytest.param("base", marks=pytest.mark.slow)])
def test_logits_equal_those_of_the_official_code(size):
    for point in facts(f"videomaev2__{size}")["points"]:
        _, _, num_frames, *resolution = point["input_shape"]
        model = create_model(
            f"videomaev2_{size}", num_frames=num_frames, resolution=tuple(resolution)
        )
        assert_same_logits(logits(model, point), point["outputs"][0])


def test_a_distilled_file_saved_by_a_compiled_model_loads():
    source = fill_model(tiny(710)).float().state_dict()
    model = tiny(710)

    report = load_checkpoint(
        model, {"module": {f"_orig_mod.{name}": value for name, value in source.items()}}
    )

    assert report.head_loaded
    assert all(torch.equal(value, source[name]) for name, value in model.state_dict().items())


def numbered_head(num_classes: int) -> dict[str, torch.Tensor]:
    """A file whose head says in each row which one it is."""
    state = fill_model(tiny(num_classes)).float().state_dict()
    rows = torch.arange(float(num_classes))
    return state | {"head.weight": rows[:, None].repeat(1, 24), "head.bias": rows}


def test_400_of_710_classes_are_taken_in_the_order_of_kinetics_400():
    model = tiny(400)

    report = load_checkpoint(model, {"module": numbered_head(710)})

    assert report.head_loaded
    assert any("out of 710" in note for note in report.notes)
    rows = model.head.bias.long().tolist()
    assert torch.equal(model.head.weight, model.head.bias[:, None].repeat(1, 24))
    # The 710 classes begin with Kinetics-400 in UniFormer's order, whose places in the
    # alphabetical one were read from that project's own list.
    uniformer = label_space.orders()["kinetics400_uniformer"]
    assert [rows[place] for place in uniformer.places] == list(range(400))


def test_a_file_of_mmaction2_has_400_classes_and_its_table_of_positions():
    source = numbered_head(400)
    state = {f"backbone.{name}": value for name, value in source.items() if "head" not in name}
    for part, name in (("0.0", "fc1"), ("1", "fc2")):
        state = {
            key.replace(f"mlp.{name}.", f"mlp.layers.{part}."): state[key] for key in list(state)
        }
    state = {k.replace("patch_embed.proj.", "patch_embed.projection."): state[k] for k in state}
    state |= {f"cls_head.fc_cls.{kind}": source[f"head.{kind}"] for kind in ("weight", "bias")}
    model = tiny(400)
    file = {"meta": {}, "state_dict": state | {"backbone.pos_embed": model.pos_embed.clone()}}

    load_checkpoint(model, file)

    assert all(torch.equal(value, source[name]) for name, value in model.state_dict().items())
    with pytest.raises(CheckpointError) as e:
        load_checkpoint(tiny(710), file)
    assert e.value.hint == "build the model with num_classes=400, or load with_head=False"


@pytest.mark.parametrize("num_classes", [600, 700])
def test_other_classes_than_kinetics_400_are_not_taken_out_of_710(num_classes):
    with pytest.raises(CheckpointError, match=rf"head.weight \(wanted \({num_classes}, 24\)") as e:
        load_checkpoint(tiny(num_classes), numbered_head(710))
    assert e.value.hint == "build the model with num_classes=710, or load with_head=False"


def test_a_file_tuned_further_to_400_classes_fits_a_model_of_400_classes_alone(tmp_path):
    path = tmp_path / "vit_g_hybrid_pt_1200e_k710_it_k400_ft.pth"
    torch.save({"module": numbered_head(400)}, path)
    model = tiny(400)

    assert load_checkpoint(model, path).head_loaded
    assert model.head.bias.tolist() == list(range(400))
    with pytest.raises(CheckpointError, match=r"head.weight \(wanted \(710, 24\), got \(400") as e:
        load_checkpoint(tiny(710), path)
    assert "num_classes=400" in str(e.value.hint)
    assert "released for videomaev2_giant (kinetics400, 16 frames" in str(e.value.hint)


def test_a_file_of_another_size_is_told_by_its_name(tmp_path):
    path = tmp_path / "vit_b_k710_dl_from_giant.pth"
    wide = TubeletViTConfig(dim=48, depth=2, num_heads=3, mlp_dim=96, patch_px=14)
    options = Options(num_frames=4, height_px=28, width_px=28, num_classes=710)
    torch.save({"module": VideoMAEv2(wide, options).state_dict()}, path)
    with pytest.raises(CheckpointError, match="of another shape") as e:
        load_checkpoint(tiny(710), path)
    assert str(e.value.hint).startswith("a file of that name was released for videomaev2_base")


def test_each_released_file_has_the_classes_of_its_label_space():
    spaces = {
        released.file: released.label_space
        for size in SIZES
        for released in released_checkpoints(f"videomaev2_{size}")
    }
    for name in ("vit_s_k710_dl_from_giant.pth", "vit_b_k710_dl_from_giant.pth"):
        assert spaces[name] == "kinetics710"
    assert spaces["vit_g_hybrid_pt_1200e_k710_ft.pth"] == "kinetics710"
    assert spaces["vit_g_hybrid_pt_1200e_k710_it_k400_ft.pth"] == "kinetics400"
