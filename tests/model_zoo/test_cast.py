from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import model_zoo
from model_zoo import CheckpointError, Options, UnsupportedInputError, load_checkpoint
from model_zoo.cast import Cast, CastConfig, CastVerbNoun, Experts
from model_zoo.clip import Clip, ClipConfig
from model_zoo.layers.clip import frame_tokens
from model_zoo.layers.tubelet_vit import TubeletViTConfig
from model_zoo.videomae import VideoMAE
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
    "cast_base_16": "cast__b16_k400",
    "cast_base_16_ssv2": "cast__b16_ssv2",
    "cast_base_16_ek100": "cast__b16_ek100",
}
HEADS = {"verb": 97, "noun": 300}
TINY = CastConfig(dim=32, depth=2, num_heads=4, cross_dim=16)


def size(
    num_frames: int = 4, *, side_px: int = 224, num_classes: Any = 20, attention: str = "sdpa"
) -> Options:
    return Options(
        num_frames=num_frames,
        height_px=side_px,
        width_px=side_px,
        num_classes=num_classes,
        attention=attention,
    )


def tiny_clip(num_frames: int = 4) -> Tensor:
    return clip((2, 3, num_frames, 224, 224))


@pytest.mark.parametrize(("name", "golden"), VARIANTS.items())
def test_a_variant_has_the_official_parameters_and_operations(name, golden):
    official = facts(golden)
    with torch.device("meta"):
        model = model_zoo.create_model(name)
    assert_same_names_and_shapes(model, official)
    assert towers.num_parameters(model) == official["params"]
    assert towers.num_trainable(model) == official["trainable_params"]
    counted = macs(model, official["macs"]["input_shape"])
    assert counted == pytest.approx(official["macs"]["matmul_like_only"], rel=1e-3)


def assert_official(output: Any, point: dict[str, Any]) -> None:
    # The official two-head model gives (noun, verb).
    heads = [output["noun"], output["verb"]] if isinstance(output, Mapping) else [output]
    for head, expected in zip(heads, point["outputs"], strict=True):
        assert_same_logits(head, expected)


@pytest.mark.parametrize(("name", "golden"), VARIANTS.items())
@pytest.mark.slow
def test_logits_are_the_official_ones(name, golden):
    point = facts(golden)["points"][0]
    model = model_zoo.create_model(name, num_frames=point["input_shape"][2])
    assert_official(logits(model, point), point)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("name", "golden"), VARIANTS.items())
def test_a_narrow_model_gives_the_official_logits(name, golden, attention):
    point = facts(golden)["points"][1]
    reduced = point["setting"]["reduced"]
    config = CastConfig(
        dim=reduced["embed_dim"],
        depth=reduced["depth"],
        num_heads=reduced["num_heads"],
        cross_dim=reduced["embed_dim"] // 2,
    )
    num_classes = model_zoo.model_entry(name).num_classes
    build = CastVerbNoun if isinstance(num_classes, Mapping) else Cast
    options = size(point["input_shape"][2], num_classes=num_classes, attention=attention)
    assert_official(logits(build(config, options), point), point)


def test_the_last_of_an_odd_number_of_frames_is_not_seen():
    model = fill_model(Cast(TINY, size(5)))
    clips = tiny_clip(5)
    changed = clips.clone()
    changed[:, :, 4] = 0
    assert torch.equal(model(clips), model(changed))
    changed[:, :, 3] = 0
    assert not torch.equal(model(clips), model(changed))


def test_only_the_first_frame_of_each_pair_is_hidden_from_space():
    model = CastVerbNoun(TINY, size(num_classes=HEADS))
    fill_model(model)
    clips = tiny_clip()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "cross_s_up.weight" in name:  # nothing of time reaches space
                parameter.zero_()
    changed = clips.clone()
    changed[:, :, ::2] = 0
    before, after = model(clips), model(changed)
    assert torch.equal(before["noun"], after["noun"])
    assert not torch.equal(before["verb"], after["verb"])


@pytest.mark.parametrize("side_px", [208, 240])
def test_another_grid_than_the_tables_over_space_is_refused(side_px):
    with pytest.raises(UnsupportedInputError, match="must be 224 to 239 px"):
        Cast(TINY, size(side_px=side_px))


def test_rows_and_columns_short_of_a_patch_are_left_out():
    clips = clip((1, 3, 4, 230, 230))
    outputs = [
        fill_model(Cast(TINY, size(side_px=side)))(clips[..., :side, :side]) for side in (230, 224)
    ]
    assert torch.equal(*outputs)


def test_a_clip_shorter_than_a_tubelet_or_of_another_length_is_refused():
    with pytest.raises(UnsupportedInputError, match="at least 2 frames, got: 1"):
        Cast(TINY, size(1))
    with pytest.raises(UnsupportedInputError, match=r"\(4, 224, 224\), got: \(6, 224, 224\)"):
        Cast(TINY, size())(torch.zeros(1, 3, 6, 224, 224))


@pytest.mark.parametrize("num_classes", [97, {"verb": 97}, {"verb": 97, "noun": 300, "action": 9}])
def test_two_heads_must_be_named(num_classes):
    with pytest.raises(UnsupportedInputError, match="a verb and a noun head, got"):
        CastVerbNoun(TINY, size(num_classes=num_classes))


@pytest.mark.parametrize(("build", "num_classes"), [(Cast, 20), (CastVerbNoun, HEADS)])
def test_gradients_reach_what_is_trainable_and_nothing_frozen(build, num_classes):
    model = fill_model(build(TINY, size(num_classes=num_classes))).train()
    reached = towers.reached_by_gradient(model, tiny_clip())
    assert reached == towers.trainable(model)
    assert "clip_ln_post.weight" in reached
    assert "blocks.0.attn.q_bias" not in reached


def test_stochastic_depth_acts_in_training_only():
    torch.manual_seed(0)
    model, clips = fill_model(Cast(TINY, size())), tiny_clip()
    assert torch.equal(model(clips), model(clips))
    model.train()
    assert not torch.equal(model(clips), model(clips))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_come_close_to_the_full_precision(dtype):
    model, clips = fill_model(Cast(TINY, size())), tiny_clip()
    full = model(clips)
    half = model.to(dtype)(clips.to(dtype))
    assert half.dtype == dtype
    assert (half.double() - full).abs().max() < 0.1


def test_the_whole_model_compiles_without_a_graph_break():
    model, clips = fill_model(Cast(TINY, size())), tiny_clip()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(clips), model(clips))


def spatial_expert() -> Clip:
    model = Clip(ClipConfig(dim=32, depth=2, num_heads=4), size(1, num_classes=32))
    fill_model(model)
    with torch.no_grad():
        model.proj.copy_(torch.eye(32))
    return model


def pretraining_file(expert: VideoMAE) -> dict[str, Any]:
    """VideoMAE's pre-training layout: an encoder with a norm of its own, and a decoder."""
    encoder = {
        f"encoder.{name}": tensor
        for name, tensor in expert.state_dict().items()
        if name.startswith(("patch_embed.", "blocks."))
    }
    rest = {
        "encoder.norm.weight": torch.ones(32),
        "mask_token": torch.zeros(1, 1, 16),
        "encoder_to_decoder.weight": torch.zeros(16, 32),
        "decoder.blocks.0.norm1.weight": torch.ones(16),
    }
    return {"model": encoder | rest, "epoch": 1600}


def test_a_model_fresh_from_both_experts_sees_what_each_sees():
    config = TubeletViTConfig(dim=32, depth=2, num_heads=4, mlp_dim=128)
    spatial, temporal = spatial_expert(), VideoMAE(config, size())
    fill_model(temporal)
    model = CastVerbNoun(TINY, size(num_classes=HEADS)).double().eval()
    from_clip = load_checkpoint(model, towers.archive(spatial))
    from_videomae = load_checkpoint(model, pretraining_file(temporal))
    in_no_file = set(from_clip.untouched) & set(from_videomae.untouched)
    assert in_no_file == towers.trainable(model) - {"clip_ln_post.weight", "clip_ln_post.bias"}
    clips = tiny_clip()
    s, t = model.features(clips)
    tokens = streams_of(spatial, temporal, clips)
    torch.testing.assert_close(s, spatial.ln_post(tokens[0]))
    torch.testing.assert_close(t, model.vmae_fc_norm(tokens[1]))


@pytest.mark.parametrize("num_classes", [20, 7])
def test_a_fine_tuned_videomae_is_the_temporal_expert_that_the_readme_links(num_classes):
    config = TubeletViTConfig(dim=32, depth=2, num_heads=4, mlp_dim=128)
    tuned = fill_model(VideoMAE(config, size(num_classes=num_classes))).state_dict()
    model = Cast(TINY, size()).double()

    report = load_checkpoint(model, {"module": tuned})

    fits = num_classes == 20
    assert report.head_loaded is fits
    assert set(report.untouched) >= {"vmae_fc_norm.weight", "clip_conv1.weight"}
    loaded = model.state_dict().keys() - set(report.untouched)
    assert loaded == {
        name
        for name in tuned
        if not name.startswith("fc_norm.") and (fits or not name.startswith("head."))
    }
    for name in loaded:
        assert torch.equal(model.state_dict()[name], tuned[name]), name


def as_transformers(expert: VideoMAE) -> dict[str, Tensor]:
    """The encoder as Hugging Face's VideoMAE is saved without classifier and decoder."""
    state = {}
    for name, tensor in expert.state_dict().items():
        if name.endswith("qkv.weight"):
            block = name.replace("blocks.", "encoder.layer.").removesuffix("attn.qkv.weight")
            for part, weight in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                state[f"{block}attention.attention.{part}.weight"] = weight
        elif not name.startswith(("fc_norm.", "head.")):
            renamed = (
                name.replace("patch_embed.proj.", "embeddings.patch_embeddings.projection.")
                .replace("blocks.", "encoder.layer.")
                .replace("attn.proj.", "attention.output.dense.")
                .replace("attn.", "attention.attention.")
                .replace("norm1.", "layernorm_before.")
                .replace("norm2.", "layernorm_after.")
                .replace("mlp.fc1.", "intermediate.dense.")
                .replace("mlp.fc2.", "output.dense.")
            )
            state[renamed] = tensor
    return state


def test_a_videomae_of_hugging_face_gives_the_same_temporal_expert():
    expert = VideoMAE(TubeletViTConfig(dim=32, depth=2, num_heads=4, mlp_dim=128), size())
    fill_model(expert)
    model, expected = Cast(TINY, size()), Cast(TINY, size())

    report = load_checkpoint(model, as_transformers(expert))

    assert report.untouched == load_checkpoint(expected, pretraining_file(expert)).untouched
    for name in model.state_dict().keys() - set(report.untouched):
        assert torch.equal(model.state_dict()[name], expected.state_dict()[name]), name


def streams_of(spatial: Clip, temporal: VideoMAE, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Mean class token of every second frame, and mean token of the clip, before any norm."""
    frames = clips[:, :, 1::2].transpose(1, 2).flatten(0, 1)
    x = frame_tokens(frames, spatial.conv1, spatial.class_embedding, spatial.positional_embedding)
    x = spatial.transformer(spatial.ln_pre(x))[:, 0]
    y = temporal.patch_embed(clips) + temporal.pos_embed
    for block in temporal.blocks:
        y = block(y)
    return x.reshape(len(clips), -1, x.shape[-1]).mean(dim=1), y.mean(dim=1)


@pytest.mark.parametrize("container", ["module", "model"])
def test_the_released_layout_loads(container):
    source = fill_model(Cast(TINY, size()))
    model: Experts = Cast(TINY, size()).double()
    report = load_checkpoint(model, {container: source.state_dict()})
    assert report.untouched == ()
    assert report.head_loaded
    clips = tiny_clip()
    assert torch.equal(model.eval()(clips), source(clips))


def test_an_expert_of_another_depth_is_refused():
    config = ClipConfig(dim=32, depth=1, num_heads=4)
    shallow = fill_model(Clip(config, size(1, num_classes=32)))
    assert isinstance(shallow, Clip)
    with pytest.raises(CheckpointError, match=r"12 missing: blocks\.1\.clip_"):
        load_checkpoint(Cast(TINY, size()), towers.archive(shallow))
