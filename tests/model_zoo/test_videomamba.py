from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo import (
    CheckpointError,
    UnsupportedInputError,
    create_model,
    load_checkpoint,
    model_entry,
)
from model_zoo._registry import Options
from model_zoo.layers.bimamba import BiMamba, Block
from model_zoo.videomamba import VideoMamba, VideoMambaConfig
from model_zoo.weights.tables import resize_1d, resize_2d
from tests.detfill import clip, fill, fill_model
from tests.model_zoo.reference import (
    assert_same_logits,
    assert_same_names_and_shapes,
    facts,
    logits,
    macs,
)

SIZES = ["tiny", "small", "middle"]
WIDTHS = {"tiny": 192, "small": 384, "middle": 576}
DEPTHS = {"tiny": 24, "small": 24, "middle": 32}
TINY = VideoMambaConfig(dim=32, depth=2)
OPTIONS = Options(num_frames=4, height_px=32, width_px=32, num_classes=5)


def on_meta(size: str, num_frames: int = 8, resolution: int = 224) -> nn.Module:
    with torch.device("meta"):
        return create_model(
            f"videomamba_{size}", num_frames=num_frames, resolution=resolution
        ).eval()


def tiny(config: VideoMambaConfig = TINY, **options: Any) -> VideoMamba:
    model = VideoMamba(config, replace(OPTIONS, **options))
    fill_model(model)
    return model


def run(model: nn.Module, clips: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = model(clips)
    return output


@pytest.mark.parametrize("size", SIZES)
def test_parameters_have_the_official_names_shapes_and_number(size):
    golden = facts(f"videomamba__{size}")
    model = on_meta(size)
    assert_same_names_and_shapes(model, golden)
    assert sum(p.numel() for p in model.parameters()) == golden["params"]


def test_tubelets_share_a_time_and_widen_the_patch_kernel():
    with torch.device("meta"):
        options = Options(num_frames=8, height_px=64, width_px=64, num_classes=400)
        state = VideoMamba(VideoMambaConfig(tubelet_frames=2), options).state_dict()
    assert state["temporal_pos_embedding"].shape == (1, 4, 192)
    assert state["patch_embed.proj.weight"].shape == (192, 3, 2, 16, 16)


@pytest.mark.parametrize("num_frames", [8, 64])
@pytest.mark.parametrize("size", SIZES)
def test_multiply_adds_are_those_of_the_arithmetic(size, num_frames):
    # fvcore's count leaves out the convolution, x_proj, dt_proj and the scan of each direction
    L, D, E, R, N, K = 1 + 196 * num_frames, WIDTHS[size], 2 * WIDTHS[size], 0, 16, 4
    R = -(-D // 16)
    direction = L * E * (K + (R + 2 * N) + R + 3 * N + 1)
    block = L * D * 2 * E + L * E * D + 2 * direction
    expected = DEPTHS[size] * block + (L - 1) * 768 * D + D * 400
    counted = macs(on_meta(size, num_frames), [1, 3, num_frames, 224, 224])
    assert counted == expected
    if num_frames == 8:
        hidden = DEPTHS[size] * 2 * direction
        assert counted - hidden == facts(f"videomamba__{size}")["macs"]["total_without_norms"]


@pytest.mark.parametrize(
    "size", ["tiny", *(pytest.param(s, marks=pytest.mark.slow) for s in SIZES[1:])]
)
def test_logits_are_the_official_ones(size):
    (point,) = facts(f"videomamba__{size}")["points"]
    model = create_model(f"videomamba_{size}", num_frames=4, resolution=64)
    assert_same_logits(logits(model, point), point["outputs"][0])


def test_only_the_middle_frame_counts_for_an_inflated_tubelet():
    single = tiny(num_frames=2)
    state = single.state_dict()
    double = VideoMamba(replace(TINY, tubelet_frames=2), OPTIONS).double().eval()
    image = {name: value.squeeze(2) if value.ndim == 5 else value for name, value in state.items()}
    load_checkpoint(double, image)
    double.head.load_state_dict(single.head.state_dict())
    clips = clip((2, 3, 4, 32, 32))
    assert torch.allclose(run(double, clips), run(single, clips[:, :, 1::2]), atol=1e-12)


def test_a_model_may_be_one_token_long_and_frames_need_not_be_square():
    model = tiny(num_frames=1, height_px=16, width_px=48)
    assert run(model, clip((3, 3, 1, 16, 48))).shape == (3, 5)


def test_what_does_not_fill_a_tubelet_is_left_out():
    model = tiny(replace(TINY, tubelet_frames=2), num_frames=5, height_px=40)
    clips = clip((1, 3, 5, 40, 32))
    cropped = tiny(replace(TINY, tubelet_frames=2), num_frames=4, height_px=32)
    assert torch.equal(run(model, clips), run(cropped, clips[:, :, :4, :32]))


def test_clips_of_a_batch_do_not_see_each_other():
    model, clips = tiny(), clip((3, 3, 4, 32, 32))
    alone = torch.cat([run(model, one) for one in clips.split(1)])
    assert torch.allclose(run(model, clips), alone, atol=1e-12)


def test_the_forward_scan_sees_the_past_and_the_backward_scan_the_future():
    mixer = BiMamba(16)
    mixer.double().load_state_dict(fill(mixer.state_dict()))
    tokens = clip((1, 9, 16))
    changed = tokens.clone()
    changed[:, 4] += 1
    for cut, moved_are in ((mixer.D_b, range(4, 9)), (mixer.D, range(5))):
        suffix = "_b" if cut is mixer.D_b else ""
        silent = BiMamba(16).double()
        silent.load_state_dict(mixer.state_dict())
        for name in (f"conv1d{suffix}.weight", f"conv1d{suffix}.bias"):
            silent.get_parameter(name).data.zero_()  # silu(0) = 0: that direction is mute
        with torch.inference_mode():
            moved = (silent(changed) - silent(tokens)).abs().amax(-1)[0] > 1e-9
        assert [t for t in range(9) if moved[t]] == list(moved_are)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_residual_stays_wide_in_half_precision(dtype):
    block = Block(16, 0.0).to(dtype)
    branch, residual = block(torch.randn(1, 3, 16, dtype=dtype), None)
    assert (branch.dtype, residual.dtype) == (dtype, torch.float32)
    branch, residual = block(branch, residual)
    assert (branch.dtype, residual.dtype) == (dtype, torch.float32)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1), (torch.float16, 0.02)]
)
def test_every_precision_gives_nearly_the_same(dtype, tolerance):
    model, clips = tiny(), clip((2, 3, 4, 32, 32))
    exact = run(model, clips)
    output = run(model.to(dtype), clips.to(dtype))
    assert output.dtype == dtype
    assert (output.double() - exact).abs().max() < tolerance * exact.abs().max()


def test_autocast_gives_nearly_the_same():
    model, clips = tiny().float(), clip((2, 3, 4, 32, 32)).float()
    exact = run(model, clips)
    with torch.autocast("cpu", torch.bfloat16):
        output = run(model, clips)
    assert output.dtype == torch.bfloat16
    assert (output.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_every_parameter_learns_that_can():
    model = tiny().train()
    model(clip((2, 3, 4, 32, 32))).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # the class token is the first that the forward scan meets: the last one has nothing to decay
    assert without == ["layers.1.mixer.A_log"]


def test_branches_are_dropped_as_in_the_official_schedule():
    model = VideoMamba(VideoMambaConfig(dim=16, depth=4, drop_path_rate=0.3), OPTIONS)
    rates = [layer.drop_path.rate for layer in model.layers if isinstance(layer, Block)]
    assert rates == pytest.approx([0.0, 0.0, 0.1, 0.2])
    assert model.drop_path.rate == pytest.approx(0.3)


def test_training_drops_and_evaluation_does_not():
    config = replace(TINY, drop_path_rate=0.5, head_dropout_rate=0.5)
    model, clips = tiny(config), clip((4, 3, 4, 32, 32))
    assert torch.equal(run(model, clips), run(tiny(), clips))
    assert not torch.allclose(run(model.train(), clips), run(model, clips))


def test_it_compiles_without_a_graph_break():
    model, clips = tiny(), clip((1, 3, 4, 32, 32))
    compiled: Any = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.allclose(run(compiled, clips), run(model, clips), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 3, 5, 32, 32), (1, 3, 4, 32, 48), (3, 4, 32, 32)])
def test_clips_of_another_size_are_refused(shape):
    with pytest.raises(UnsupportedInputError, match="clips"):
        tiny()(clip(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height_px": 15}, "patch of 16 x 16 px"),
        ({"num_frames": 1}, "at least 2 frames"),
    ],
)
def test_what_cannot_be_built_is_named(change, message):
    with pytest.raises(UnsupportedInputError, match=message):
        VideoMamba(replace(TINY, tubelet_frames=2), replace(OPTIONS, **change))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"module": state},
        lambda state: {"model": {f"backbone.{name}": value for name, value in state.items()}},
        lambda state: {"module": {f"encoder.{name}": value for name, value in state.items()}},
        lambda state: {
            name if name.startswith("head") else f"encoder.{name}": value
            for name, value in state.items()
        },
    ],
)
def test_official_wrappings_load(wrap):
    source, model = tiny(), VideoMamba(TINY, OPTIONS).double()
    report = load_checkpoint(model, wrap(source.state_dict()))
    assert report.head_loaded
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())


def test_a_head_of_710_classes_is_cut_to_kinetics_400():
    source, model = tiny(num_classes=710), tiny(num_classes=400)
    report = load_checkpoint(model, source.state_dict())
    assert torch.equal(model.head.weight, source.head.weight[:400])
    assert torch.equal(model.head.bias, source.head.bias[:400])
    assert any("400 of the 710" in note for note in report.notes)


def test_a_head_of_other_classes_is_an_error():
    with pytest.raises(
        CheckpointError, match=r"head\.weight \(wanted \(5, 32\), got \(710, 32\)\)"
    ):
        load_checkpoint(tiny(), tiny(num_classes=710).state_dict())


def test_tables_are_resized_to_more_frames_and_another_frame_size():
    source, model = tiny(), tiny(num_frames=6, height_px=64, width_px=48)
    report = load_checkpoint(model, source.state_dict())
    places = resize_2d(source.pos_embed, (4, 3), num_prefix=1)
    assert torch.equal(model.pos_embed, places)
    assert torch.equal(model.pos_embed[:, 0], source.pos_embed[:, 0])
    times = resize_1d(source.temporal_pos_embedding, 6, mode="linear")
    assert torch.equal(model.temporal_pos_embedding, times)
    assert [note.partition(" ")[0] for note in report.notes] == [
        "pos_embed",
        "temporal_pos_embedding",
    ]
    assert run(model, clip((1, 3, 6, 64, 48))).isfinite().all()


def test_an_image_model_starts_a_video_model():
    with torch.device("meta"):
        names = create_model("videomamba_image_tiny", resolution=32).state_dict()
    image = fill({name: torch.empty(x.shape) for name, x in names.items()})
    image |= {"distill_head.0.weight": torch.zeros(2, 2), "distill_head.1.bias": torch.zeros(2)}
    model = create_model("videomamba_tiny", num_frames=2, resolution=32, num_classes=1000)
    report = load_checkpoint(model, {"model": image})
    state = model.state_dict()
    kernel = state["patch_embed.proj.weight"]
    assert torch.equal(kernel.squeeze(2), image["patch_embed.proj.weight"])
    assert not state["temporal_pos_embedding"].any()
    assert not report.head_loaded
    assert set(report.untouched) == {"head.weight", "head.bias", "temporal_pos_embedding"}
    assert any("distill_head.0.weight, distill_head.1.bias" in note for note in report.notes)


def test_a_model_pretrained_by_masking_starts_one_without_head_and_last_norm():
    source, model = tiny(), VideoMamba(TINY, OPTIONS).double()
    state = {k: v for k, v in source.state_dict().items() if not k.startswith(("head", "norm_f"))}
    state |= {"norm.weight": torch.ones(32), "clip_decoder.0.head.weight": torch.ones(2, 32)}
    report = load_checkpoint(model, {"model": state})
    assert set(report.untouched) == {"head.weight", "head.bias", "norm_f.weight"}
    assert any("norm.weight, clip_decoder.0.head.weight" in note for note in report.notes)


def test_an_entry_too_many_is_an_error_and_changes_nothing():
    model = VideoMamba(TINY, OPTIONS).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="1 unexpected: decoder"):
        load_checkpoint(model, tiny().state_dict() | {"decoder": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def gates_and_states(model: VideoMamba) -> tuple[float, float]:
    """Root mean squares of what the first mixer's gate, and its B and C, are for random tokens."""
    layer = model.layers[0]
    assert isinstance(layer, Block)
    mixer = layer.mixer
    x, gate = mixer.in_proj(torch.randn(8, 32, mixer.in_proj.in_features)).chunk(2, dim=-1)
    u = F.silu(mixer.conv1d(F.pad(x.transpose(1, 2), (3, 0)))).transpose(1, 2)
    states = mixer.x_proj(u)[..., mixer.rank :]
    return gate.square().mean().sqrt().item(), states.square().mean().sqrt().item()


def test_a_narrow_model_can_begin_with_gates_and_states_of_the_order_of_one():
    config = VideoMambaConfig(dim=128, depth=1)
    torch.manual_seed(0)
    small = gates_and_states(VideoMamba(config, OPTIONS))
    large = gates_and_states(VideoMamba(replace(config, unit_gates=True), OPTIONS))
    assert max(small) < 0.3
    assert 1 < min(large) < max(large) < 4


def test_the_registry_knows_that_there_is_no_attention():
    assert not model_entry("videomamba_tiny").has_attention
