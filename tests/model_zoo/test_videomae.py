import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo import CheckpointError, create_model
from model_zoo._registry import Options
from model_zoo.layers.pos_embed import sinusoid_table
from model_zoo.layers.tubelet_vit import TubeletViTConfig
from model_zoo.videomae import VideoMAE
from model_zoo.weights import load_checkpoint
from tests.detfill import fill_model
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

SIZES = ("small", "base", "large", "huge")


def on_meta(size: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(f"videomae_{size}")


def tiny() -> Any:
    config = TubeletViTConfig(dim=24, depth=2, num_heads=3, mlp_dim=48)
    return VideoMAE(config, Options(num_frames=4, height_px=32, width_px=32, num_classes=5))


@pytest.mark.parametrize("size", SIZES)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(f"videomae__{size}")
    model = on_meta(size)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize("size", SIZES)
def test_macs_equal_those_counted_on_the_official_code(size):
    counted = facts(f"videomae__{size}")["macs"]

    ours = macs(on_meta(size), counted["input"][0])

    assert ours == pytest.approx(counted["total_without_norms"], rel=1e-3)


@pytest.mark.parametrize(
    "size", ["small", *(pytest.param(size, marks=pytest.mark.slow) for size in ("base", "large"))]
)
def test_logits_equal_those_of_the_official_code(size):
    for point in facts(f"videomae__{size}")["points"]:
        _, _, num_frames, *resolution = point["input_shape"]
        model = create_model(
            f"videomae_{size}", num_frames=num_frames, resolution=tuple(resolution)
        )
        assert_same_logits(logits(model, point), point["outputs"][0])


def test_positions_are_sines_and_cosines_of_the_flattened_index_rounded_to_float32():
    table = sinusoid_table(1568, 384)

    assert table.shape == (1, 1568, 384)
    for position, channel in ((0, 0), (0, 1), (1, 0), (1567, 0), (1567, 1), (900, 130), (900, 131)):
        angle = position / 10000 ** (2 * (channel // 2) / 384)
        exact = math.cos(angle) if channel % 2 else math.sin(angle)
        assert table[0, position, channel] == torch.tensor(exact, dtype=torch.float32)


def test_positions_are_no_part_of_a_checkpoint_and_follow_the_model_to_its_device():
    model = tiny()

    assert "pos_embed" not in model.state_dict()
    assert model.to("meta").pos_embed.device.type == "meta"


def test_a_fine_tuned_file_in_half_precision_loads():
    source = fill_model(tiny())
    model = tiny()

    report = load_checkpoint(
        model, {"module": {name: value.half() for name, value in source.state_dict().items()}}
    )

    assert report.head_loaded
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, source.state_dict()[name].half().float())


def test_a_pre_training_file_gives_its_encoder_and_leaves_the_classifier():
    source = fill_model(tiny()).state_dict()
    encoder = {k: v for k, v in source.items() if not k.startswith(("fc_norm", "head"))}
    model = tiny()
    head = model.head.weight.clone()

    report = load_checkpoint(
        model,
        {
            "model": {f"encoder.{name}": value for name, value in encoder.items()}
            | {
                "encoder.norm.weight": torch.ones(24),
                "encoder.norm.bias": torch.ones(24),
                "decoder.blocks.0.norm1.weight": torch.ones(12),
                "encoder_to_decoder.weight": torch.ones(12, 24),
                "mask_token": torch.ones(1, 1, 12),
            }
        },
    )

    assert report.untouched == ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")
    assert not report.head_loaded
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.blocks[1].attn.q_bias, source["blocks.1.attn.q_bias"].float())


def as_mmaction2(source: nn.Module) -> dict[str, Any]:
    """What mmaction2 stores: its names, and the fixed table of positions as a buffer."""
    state: dict[str, Tensor] = {"backbone.pos_embed": sinusoid_table(8, 24)}
    for name, value in source.state_dict().items():
        renamed = (
            name.replace("patch_embed.proj.", "patch_embed.projection.")
            .replace("mlp.fc1.", "mlp.layers.0.0.")
            .replace("mlp.fc2.", "mlp.layers.1.")
        )
        is_head = name.startswith("head.")
        state[f"cls_head.fc_cls.{name[5:]}" if is_head else f"backbone.{renamed}"] = value
    return {"meta": {"epoch": 1}, "state_dict": state}


def test_a_file_of_mmaction2_loads_without_its_table_of_positions():
    source = fill_model(tiny()).float()
    model = tiny()

    report = load_checkpoint(model, as_mmaction2(source))

    assert report.head_loaded
    assert report.untouched == ()
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def test_learned_positions_of_mmaction2_are_not_left_out_in_silence():
    file = as_mmaction2(tiny())
    file["state_dict"]["backbone.pos_embed"] = torch.zeros(1, 8, 24)

    with pytest.raises(CheckpointError, match="1 unexpected: pos_embed"):
        load_checkpoint(tiny(), file)
