from typing import Any

import msgspec
import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn

from model_zoo import create_model
from model_zoo._errors import CheckpointError, UnsupportedInputError
from model_zoo._registry import Options
from model_zoo.vivit import FactorizedViViT, JointViViT, ViViTConfig
from model_zoo.weights import load_checkpoint
from model_zoo.weights.keymaps.vivit import flax_path
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

VARIANTS = {
    "vivit_base": "vivit__b_16x2",
    "vivit_base_factorized": "vivit__b_16x2_fe",
    "vivit_large_factorized": "vivit__l_16x2_fe",
}
CONFIG = ViViTConfig(dim=24, depth=2, temporal_depth=1, num_heads=3, mlp_dim=48)
MODELS = (JointViViT, FactorizedViViT)


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(name)


def tiny(model: Any = FactorizedViViT, **changes: Any) -> Any:
    sizes = {"num_frames": 6, "height_px": 32, "width_px": 48, "num_classes": 5} | changes
    return model(CONFIG, Options(**sizes))


def as_flax(model: nn.Module) -> dict[str, Any]:
    """The model's parameters as Scenic's tree: names of the facts files, layouts of Flax."""
    tree: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        path = flax_path(name).split("/")
        array = value.numpy()
        if array.ndim == 5:
            array = array.transpose(2, 3, 4, 1, 0)
        elif path[-1] == "kernel":
            array = array.T
            if path[-2] in ("query", "key", "value"):
                array = array.reshape(24, 3, 8)
            elif path[-2] == "out":
                array = array.reshape(3, 8, 24)
        elif path[-2:] in (["query", "bias"], ["key", "bias"], ["value", "bias"]):
            array = array.reshape(3, 8)
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = np.ascontiguousarray(array)
    return tree


def as_msgpack(tree: dict[str, Any]) -> bytes:
    """The bytes of Flax's file of that tree."""

    def encode(array: Any) -> msgspec.msgpack.Ext:
        content = (array.shape, array.dtype.name, array.tobytes())
        return msgspec.msgpack.Ext(1, msgspec.msgpack.encode(content))

    return msgspec.msgpack.encode(tree, enc_hook=encode)


def assert_equal_states(model: nn.Module, source: nn.Module) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_have_the_official_names_shapes_and_number(name):
    golden = facts(VARIANTS[name])
    model = on_meta(name)

    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


@pytest.mark.parametrize("name", VARIANTS)
def test_macs_equal_those_counted_on_the_official_code(name):
    counted = facts(VARIANTS[name])["macs"]

    ours = macs(on_meta(name), [1, 3, 32, 224, 224])

    official = counted.get("total_without_norms", counted["total"])
    assert ours == pytest.approx(official, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vivit_base", "vivit_base_factorized"])
def test_logits_equal_those_of_the_official_code(name):
    for point in facts(VARIANTS[name])["points"]:
        _, _, num_frames, *resolution = point["input_shape"]
        model = create_model(name, num_frames=num_frames, resolution=tuple(resolution))
        assert_same_logits(logits(model, point), point["outputs"][0])


@pytest.mark.parametrize("model", MODELS)
def test_materialised_and_fused_attention_agree(model):
    clips = clip((2, 3, 6, 32, 48))

    with torch.inference_mode():
        eager = fill_model(tiny(model, attention="eager"))(clips)
        fused = fill_model(tiny(model))(clips)

    assert (eager - fused).abs().max() < 1e-12


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_gets_a_gradient(model):
    built = tiny(model).double()

    built(clip((2, 3, 6, 32, 48))).square().sum().backward()

    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_each_moment_is_encoded_without_the_others():
    model = tiny()
    fill_model(model)
    encoded: list[Tensor] = []
    model.spatial.register_forward_hook(lambda *args: encoded.append(args[-1]))
    clips = clip((2, 3, 6, 32, 48))
    changed = clips.clone()
    changed[:, :, 2:4] += 1.0

    with torch.inference_mode():
        first, second = model(clips), model(changed)

    same = (encoded[0] == encoded[1]).all(dim=-1)  # rows are clips x moments
    assert same.tolist() == [True, False, True] * 2
    assert not torch.equal(first, second)


def test_both_models_start_from_the_centre_frame_of_each_tubelet():
    for kernel in (
        tiny().patch_embed.proj.weight,
        tiny(JointViViT).vivit.embeddings.patch_embeddings["projection"].weight,
    ):
        assert not kernel[:, :, 0].any()
        assert kernel[:, :, 1].any()


@pytest.mark.parametrize("model", MODELS)
def test_half_precision_stays_half_and_the_graph_compiles_whole(model):
    built = tiny(model).bfloat16().eval()
    clips = clip((1, 3, 6, 32, 48)).bfloat16()

    compiled: Any = torch.compile(built, backend="eager", fullgraph=True)

    assert compiled(clips).dtype == torch.bfloat16
    assert torch.equal(compiled(clips), built(clips))


@pytest.mark.parametrize("model", MODELS)
def test_clips_that_the_positions_do_not_fit_are_refused(model):
    with pytest.raises(UnsupportedInputError, match=r"\(6, 32, 48\), got: \(4, 32, 48\)"):
        tiny(model)(torch.zeros(1, 3, 4, 32, 48))
    with pytest.raises(UnsupportedInputError, match="at least 2 frames, got: 1"):
        tiny(model, num_frames=1)


def test_flax_paths_are_those_of_the_official_tree():
    paths = {flax_path(name) for name in on_meta("vivit_base_factorized").state_dict()}

    assert len(paths) == 268
    assert {
        "embedding/kernel",
        "cls_SpatialTransformer",
        "cls_TemporalTransformer",
        "SpatialTransformer/posembed_input/pos_embedding",
        "SpatialTransformer/encoder_norm/scale",
        "SpatialTransformer/encoderblock_11/LayerNorm_1/bias",
        "TemporalTransformer/encoderblock_3/MlpBlock_0/Dense_1/kernel",
        "TemporalTransformer/encoderblock_0/MultiHeadDotProductAttention_0/out/bias",
        "output_projection/bias",
    } <= paths


def test_flax_paths_of_the_joint_model_are_those_of_one_transformer():
    paths = {flax_path(name) for name in on_meta("vivit_base").state_dict()}

    assert len(paths) == 200
    assert {
        "embedding/bias",
        "cls",
        "Transformer/posembed_input/pos_embedding",
        "Transformer/encoder_norm/bias",
        "Transformer/encoderblock_11/LayerNorm_0/scale",
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_0/out/kernel",
        "Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel",
        "Transformer/encoderblock_0/MlpBlock_0/Dense_1/kernel",
        "output_projection/kernel",
    } <= paths


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("wrap", [dict, lambda t: {"params": t}, lambda t: {"optimizer": t}])
def test_a_flax_tree_loads_from_where_training_states_keep_it(model, wrap):
    source = fill_model(tiny(model)).float()
    tree = wrap(as_flax(source))
    if "optimizer" in tree:  # as before optax: parameters beside the momentum of each
        tree = {"optimizer": {"target": tree["optimizer"], "state": {"step": np.int32(7)}}}
    loaded = tiny(model)

    report = load_checkpoint(loaded, tree)

    assert report.head_loaded
    assert_equal_states(loaded, source)


def test_a_flax_file_loads(tmp_path):
    source = fill_model(tiny()).float()
    path = tmp_path / "checkpoint"
    state = {"global_step": 3, "params": as_flax(source), "opt_state": {"0": {"trace": {}}}}
    path.write_bytes(as_msgpack(state))
    loaded = tiny()

    load_checkpoint(loaded, path)

    assert_equal_states(loaded, source)


def test_a_flax_tree_with_another_layer_does_not_fit():
    tree = as_flax(tiny())
    tree["SpatialTransformer"]["encoderblock_9"] = {"LayerNorm_0": {"scale": np.ones(24)}}

    with pytest.raises(CheckpointError, match="encoderblock_9/LayerNorm_0/scale"):
        load_checkpoint(tiny(), tree)


def test_a_damaged_flax_file_is_reported_as_such(tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(as_msgpack(as_flax(tiny()))[:-100])

    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(tiny(), path)


def test_positions_of_another_clip_are_resized_as_scipy_zoom_does_for_the_official_loader():
    source = tiny(num_frames=8, height_px=48, width_px=48)
    fill_model(source).float()
    loaded = tiny(num_frames=12, height_px=80, width_px=80)

    load_checkpoint(loaded, as_flax(source))

    places = source.spatial.pos_embed.detach()[0, 1:].reshape(3, 3, 24)
    expected = scipy.ndimage.zoom(places.numpy(), (5 / 3, 5 / 3, 1), order=1).reshape(25, 24)
    assert np.abs(loaded.spatial.pos_embed.detach()[0, 1:].numpy() - expected).max() < 1e-6
    moments = source.temporal.pos_embed.detach()[0, 1:].numpy()
    expected = scipy.ndimage.zoom(moments, (6 / 4, 1), order=1)
    assert np.abs(loaded.temporal.pos_embed.detach()[0, 1:].numpy() - expected).max() < 1e-6
    assert torch.equal(loaded.temporal.pos_embed[:, 0], source.temporal.pos_embed[:, 0])


def test_the_names_of_transformers_5_load():
    source = fill_model(tiny(JointViViT)).float()
    renamed = {
        name.replace("encoder.layer.", "layers.")
        .replace("attention.attention.query", "attention.q_proj")
        .replace("attention.attention.key", "attention.k_proj")
        .replace("attention.attention.value", "attention.v_proj")
        .replace("attention.output.dense", "attention.o_proj")
        .replace("intermediate.dense", "mlp.fc1")
        .replace("output.dense", "mlp.fc2"): value
        for name, value in source.state_dict().items()
    }
    loaded = tiny(JointViViT)

    load_checkpoint(loaded, renamed)

    assert_equal_states(loaded, source)


@pytest.mark.parametrize("model", MODELS)
def test_the_classifier_alone_is_left_when_asked(model):
    source = fill_model(tiny(model)).float()
    loaded = tiny(model, num_classes=7)

    report = load_checkpoint(loaded, source.state_dict(), with_head=False)

    classifier = "classifier" if model is JointViViT else "head"
    assert report.untouched == (f"{classifier}.weight", f"{classifier}.bias")
