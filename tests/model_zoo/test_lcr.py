"""LCR against its specification: sizes, published costs, edges, and the equations in a loop."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from model_zoo import UnsupportedInputError, create_model, model_entry
from model_zoo._registry import options_for
from model_zoo.layers.canny import edge_maps, grey_levels, otsu_threshold
from model_zoo.lcr import LCR, LCRConfig, random_tubes
from model_zoo.weights import load_checkpoint
from tests.detfill import clip, fill_model
from tests.model_zoo.lcr_by_hand import ByHand
from tests.model_zoo.reference import macs, shapes_of

SMALL = LCRConfig(dim=128, depth=2)
MEAN, STD = (torch.tensor(x, dtype=torch.float64).view(3, 1, 1, 1) for x in (SMALL.mean, SMALL.std))


def built(config: LCRConfig = SMALL) -> LCR:
    """In float64 and eval mode, with weights under which edges and memory matter."""
    options = options_for(model_entry("lcr_jester"), num_classes=5)
    model = LCR(config, options)
    fill_model(model)
    with torch.no_grad():
        model.edge_cls_token.mul_(5)
    return model


def picture(*shape: int) -> Tensor:
    """Normalised clips (B, 3, T, H, W) of smooth blobs, which have edges long and short."""
    noise = clip(shape, tag="picture").numpy()
    smooth = ndimage.gaussian_filter(noise, sigma=(0, 0, 0.5, 2, 2))
    rgb = torch.from_numpy(smooth / smooth.std() * 0.25 + 0.5).clamp(0, 1)
    return (rgb - MEAN) / STD


def pixels(*shape: int) -> Tensor:
    """The same as frames (F, 3, H, W) in 0..255."""
    return (255 * (picture(*shape) * STD + MEAN)).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize(
    ("name", "parameters", "num_classes"),
    [("lcr_jester", 5137563, 27), ("lcr_kinetics", 6689680, 400)],
)
def test_parameters_are_those_of_the_specification(name, parameters, num_classes):
    with torch.device("meta"):
        model = create_model(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model_entry(name).num_classes == num_classes


def macs_of(model: LCR, num_frames: int, side_px: int) -> tuple[int, int]:
    """Multiply-adds by arithmetic, without and with 5 an element of each norm."""
    C, depth = model.config.dim, model.config.depth
    patches = num_frames * (side_px // 16) ** 2
    tokens = patches + num_frames
    unit = 5 * C * C + (2 * model.config.hidden_rate + 1) * C * C + 7 * 64 * C
    matrices = 2 * patches * 768 * C + depth * tokens * unit + 2 * C * model.head.out_features
    return int(matrices), int(matrices + 5 * C * (5 * depth * tokens + 2))


@pytest.mark.parametrize(
    ("name", "num_frames", "side_px", "gflops"),
    [
        ("lcr_jester", 16, 240, "21.67"),
        pytest.param("lcr_jester", 16, 224, "18.89", marks=pytest.mark.slow),
        pytest.param("lcr_jester", 18, 224, "21.25", marks=pytest.mark.slow),
        pytest.param("lcr_jester", 20, 224, "23.62", marks=pytest.mark.slow),
        pytest.param("lcr_jester", 36, 160, "21.79", marks=pytest.mark.slow),
        pytest.param("lcr_kinetics", 16, 224, "23.88", marks=pytest.mark.slow),
    ],
)
def test_macs_are_those_of_the_specification(name, num_frames, side_px, gflops):
    with torch.device("meta"):
        model = create_model(name)
    assert isinstance(model, LCR)
    without_norms, with_norms = macs_of(model, num_frames, side_px)
    assert f"{with_norms / 1e9:.2f}" == gflops
    assert macs(model, [1, 3, num_frames, side_px, side_px]) == without_norms


def test_the_published_cost_is_that_of_the_default_clip():
    with torch.device("meta"):
        model = create_model("lcr_jester")
    assert isinstance(model, LCR)
    num_frames, side_px, _ = model_entry("lcr_jester").clip
    assert f"{macs_of(model, num_frames, side_px)[1] / 1e12:.3f}" == "0.022"


def test_the_kinetics_variant_holds_matrices_of_vision_rwkv_by_name():
    with torch.device("meta"):
        ours = shapes_of(create_model("lcr_kinetics"))
        images = shapes_of(create_model("vision_rwkv_tiny"))
    shared = {
        f"layers.{i}.{name}.weight"
        for i in range(12)
        for name in (
            *("att.key", "att.value", "att.receptance", "att.output"),
            *("ffn.key", "ffn.value", "ffn.receptance"),
        )
    }
    assert {name: ours[name] for name in shared} == {
        name: images[f"backbone.{name}"] for name in shared
    }


def otsu_by_loop(grey: np.ndarray) -> int:
    """The definition: the first level that makes the variance between the classes largest."""
    best, best_level = 0.0, 0
    for level in range(255):
        low, high = grey[grey <= level], grey[grey > level]
        if low.size and high.size:
            share = low.size / grey.size
            spread = share * (1 - share) * (low.mean() - high.mean()) ** 2
            if spread > best * (1 + 1e-12):
                best, best_level = spread, level
    return best_level


def canny_by_loop(grey: np.ndarray, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Weak edges and strong edges, pixel by pixel."""
    kernel = np.outer((1, 2, 1), (-1, 0, 1))
    across = ndimage.correlate(grey.astype(int), kernel, mode="nearest")
    down = ndimage.correlate(grey.astype(int), kernel.T, mode="nearest")
    magnitude = np.abs(across) + np.abs(down)
    around = np.pad(magnitude, 1)
    weak = np.zeros(grey.shape, dtype=bool)
    for i, j in np.argwhere(magnitude > high // 2):
        angle = math.degrees(math.atan2(abs(down[i, j]), abs(across[i, j])))
        here, y, x = magnitude[i, j], i + 1, j + 1
        if angle < 22.5:
            weak[i, j] = here > around[y, x - 1] and here >= around[y, x + 1]
        elif angle > 67.5:
            weak[i, j] = here > around[y - 1, x] and here >= around[y + 1, x]
        else:
            side = 1 if (across[i, j] < 0) == (down[i, j] < 0) else -1
            weak[i, j] = here > max(around[y - 1, x - side], around[y + 1, x + side])
    return weak, weak & (magnitude > high)


@pytest.mark.parametrize("size", [(40, 56), (33, 17), (16, 16), (1, 5)])
def test_edges_are_those_of_a_loop_over_the_pixels(size):
    rgb = pixels(1, 3, 3, *size)
    grey = grey_levels(rgb).numpy()
    weights = np.array((0.299, 0.587, 0.114))[:, None, None]
    luma = (rgb.round().numpy() * weights).sum(1)
    assert np.abs(grey - luma).max() < 0.501
    thresholds = otsu_threshold(grey_levels(rgb)).tolist()
    assert thresholds == [otsu_by_loop(frame) for frame in grey]
    few = edge_maps(rgb, hysteresis_steps=2).numpy()
    default = edge_maps(rgb, hysteresis_steps=SMALL.hysteresis_steps).numpy()
    for i, frame in enumerate(grey):
        weak, strong = canny_by_loop(frame, thresholds[i])
        whole = ndimage.binary_propagation(strong, structure=np.ones((3, 3)), mask=weak)
        assert np.array_equal(default[i], whole)
        part = ndimage.binary_dilation(strong, np.ones((3, 3)), iterations=2, mask=weak)
        assert np.array_equal(few[i], part)
    assert default.mean() > 0.02 or size == (1, 5)


def test_weak_edges_are_followed_as_far_as_asked():
    rgb = torch.full((1, 3, 9, 80), 100.0)
    rgb[:, :, 4:] = 125  # a weak edge from end to end
    rgb[:, :, 4:, :3] = 240  # with a strong start
    # most levels lie low, so that the threshold parts 240 from the rest
    assert 125 <= otsu_threshold(grey_levels(rgb)).item() < 240
    lengths = [edge_maps(rgb, hysteresis_steps=n).sum(2).max().item() for n in (0, 10, 40, 100)]
    assert lengths[0] < lengths[1] < lengths[2] < lengths[3]
    assert 75 <= lengths[3] <= 80
    assert lengths[2] - lengths[1] == 30


def test_a_frame_of_one_colour_has_no_edges():
    assert not edge_maps(torch.full((1, 3, 20, 20), 77.0), hysteresis_steps=4).any()


def test_edges_do_not_depend_on_the_frames_beside_them():
    rgb = pixels(2, 3, 2, 32, 48)
    together = edge_maps(rgb, hysteresis_steps=8)
    for frame, edges in zip(rgb, together, strict=True):
        assert torch.equal(edge_maps(frame[None], hysteresis_steps=8)[0], edges)


def test_edges_are_the_same_in_every_wide_type_and_undo_the_norm():
    clips = picture(1, 3, 2, 48, 48)
    model = built()
    exact = edge_maps(pixels(1, 3, 2, 48, 48), hysteresis_steps=SMALL.hysteresis_steps)
    assert torch.equal(model._edges(clips)[0].bool(), exact)
    assert (model._edges(clips.float())[0].bool() != exact).double().mean() < 0.005


@pytest.mark.parametrize("edge_gate", ["linear", "sigmoid"])
def test_logits_are_those_of_the_equations(edge_gate):
    config = LCRConfig(dim=128, depth=2, edge_gate=edge_gate)
    model, clips = built(config), picture(2, 3, 3, 36, 48)
    by_hand = ByHand(dict(model.state_dict()), config, H=2, W=3)
    with torch.inference_mode():
        logits, edges = model(clips), model._edges(clips)
        for row, each, its_edges in zip(logits, clips, edges, strict=True):
            assert (row - by_hand.logits(each, its_edges)).abs().max() < 1e-9


@pytest.mark.parametrize("size", [(1, 16, 16), (2, 50, 33), (5, 32, 80)])
def test_any_clip_of_at_least_a_patch_is_classified(size):
    model, clips = built(), picture(2, 3, *size)
    with torch.inference_mode():
        logits = model(clips)
        assert logits.shape == (2, 5)
        assert torch.equal(model(clips), logits)
        one_by_one = torch.cat([model(each[None]) for each in clips])
    assert (one_by_one - logits).abs().max() < 1e-12


def hidden_states(model: LCR, clips: Tensor) -> Tensor:
    """Of the last unit: (B, T, N, D)."""
    caught: list[Tensor] = []
    hook = model.layers[-1].register_forward_hook(lambda _, __, out: caught.append(out[0]))
    with torch.inference_mode():
        model(clips)
    hook.remove()
    return torch.stack(caught, dim=1)


def test_a_frame_changes_no_state_before_it_and_every_token_from_it_on():
    model, clips = built(), picture(1, 3, 4, 48, 48)
    changed = clips.clone()
    changed[:, :, 2, :16, :16] = picture(1, 3, 1, 16, 16)[:, :, 0].flip(-1)
    moved = (hidden_states(model, changed) - hidden_states(model, clips)).abs().amax((0, 3))
    assert (moved[:2] == 0).all()
    assert (moved[2:] > 0).all()


def test_colours_without_edges_reach_the_patches_but_no_logit():
    model, clips = built(), picture(1, 3, 2, 32, 32)
    for shade in (0.3, -0.2):
        other = torch.full_like(clips, shade)
        assert not model._edges(other).any()
    with torch.inference_mode():
        plain, brighter = torch.full_like(clips, 0.3), torch.full_like(clips, -0.2)
        assert (hidden_states(model, plain) != hidden_states(model, brighter)).any()
        assert torch.equal(model(plain), model(brighter))
        assert (model(clips) - model(plain)).abs().max() > 1e-3


def test_gradients_reach_all_that_the_class_token_depends_on():
    model = built().train()
    model(picture(2, 3, 3, 64, 48)).square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    # parts that cancel leave their rounding, at most 1e-15; all others are over 1
    without = {
        name for name, grad in gradients.items() if grad is None or not grad.abs().max() > 1e-12
    }
    # Keys and values are edges, and only the class token, which the shift leaves alone, is
    # classified: see the head of lcr.py.
    of_patches = (
        "att.spatial_mix_r",
        "att.spatial_mix_g",
        "ffn.spatial_mix_k",
        "ffn.spatial_mix_r",
    )
    assert without == {"patch_embed.weight", "patch_embed.bias"} | {
        f"layers.{i}.{name}" for i in range(2) for name in of_patches
    }


def test_the_edge_embedding_begins_as_zero_and_learns_from_the_second_step():
    torch.manual_seed(0)
    model = LCR(SMALL, options_for(model_entry("lcr_jester"))).double()
    weight = model.edge_embed.weight
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    gradients = []
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            model(picture(2, 3, 3, 64, 48)), torch.tensor([1, 2])
        ).backward()
        assert weight.grad is not None
        gradients.append(weight.grad.abs().max().item())
        optimizer.step()
    assert gradients[0] == 0 < gradients[1]
    assert weight.abs().max() > 0


def test_a_new_model_passes_signals_through_all_units():
    torch.manual_seed(0)
    model = create_model("lcr_jester").eval()
    for num_frames in (4, 16):
        clips = picture(1, 3, num_frames, 32, 32).float()
        assert 0.01 < model(clips).std() < 10


def test_places_are_dropped_while_training_only():
    torch.manual_seed(0)
    model, clips = built(), picture(1, 3, 2, 64, 64)
    with torch.inference_mode():
        assert hidden_states(model, clips).shape[2] == 17
        model.train()
        assert hidden_states(model, clips).shape[2] == 9
        assert not torch.equal(model(clips), model(clips))
        model.eval()
        assert torch.equal(model(clips), model(clips))


def test_without_dropped_places_training_gives_what_evaluation_gives():
    model, clips = built(LCRConfig(dim=128, depth=2, mask_ratio=0.0)), picture(1, 3, 2, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model.train()(clips), model.eval()(clips))


def test_tubes_are_random_places_in_order():
    torch.manual_seed(0)
    kept = random_tubes(64, 10, 0.3, torch.device("cpu"))
    assert kept.shape == (64, 7)
    assert (kept.diff(dim=1) > 0).all()
    assert len({tuple(row) for row in kept.tolist()}) > 16
    assert set(kept.flatten().tolist()) == set(range(10))
    assert random_tubes(1, 3, 0.99, torch.device("cpu")).shape == (1, 1)


def test_dropped_places_keep_the_others_where_they_are(monkeypatch):
    """Where only kept places have edges, and only keys know their place, dropping changes nothing.

    So shares of the shift are 1, the decay is none, and places without edges give no value.
    """
    model, clips = built(), picture(1, 3, 2, 32, 48)
    kept = torch.tensor([[1, 2, 4]])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "spatial_mix" in name:
                parameter.fill_(1)
            if name.endswith("time_decay"):
                parameter.fill_(-60)
            if name.endswith(("ln_e.bias", "edge_embed.bias")):
                parameter.zero_()
    is_kept = torch.zeros(6).index_fill(0, kept[0], 1).reshape(2, 3)
    edges = model._edges(clips) * is_kept.repeat_interleave(16, 0).repeat_interleave(16, 1)
    monkeypatch.setattr(model, "_edges", lambda _: edges)
    monkeypatch.setattr("model_zoo.lcr.random_tubes", lambda *_: kept)
    with torch.inference_mode():
        whole, part = model.eval()(clips), model.train()(clips)
        assert (part - whole).abs().max() < 1e-9
        monkeypatch.setattr("model_zoo.lcr.random_tubes", lambda *_: kept - 1)
        assert (model(clips) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_narrow_types_give_logits_of_their_type(dtype):
    clips = picture(1, 3, 2, 32, 32)
    exact = built()(clips)
    logits = built().to(dtype)(clips.to(dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()
    if dtype == torch.float32:
        assert (logits.double() - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.slow
def test_it_compiles_without_a_graph_break():
    model, clips = built(), picture(1, 3, 2, 32, 32)
    with torch.inference_mode():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert (compiled(clips) - model(clips)).abs().max() < 1e-12


def test_its_own_layout_loads():
    source, model = built(), built()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert load_checkpoint(model, {"state_dict": source.state_dict()}).head_loaded
    assert all(torch.equal(x, source.state_dict()[k]) for k, x in model.state_dict().items())


def test_clips_that_do_not_fit_are_refused_by_name():
    with pytest.raises(UnsupportedInputError, match="patch of 16 x 16 px, got: 8 x 240"):
        create_model("lcr_jester", resolution=(8, 240))
    with pytest.raises(
        UnsupportedInputError, match=r"H, W >= 16, not of shape: \(1, 3, 2, 8, 32\)"
    ):
        built()(torch.zeros(1, 3, 2, 8, 32))
