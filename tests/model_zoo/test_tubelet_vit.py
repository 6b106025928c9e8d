"""What VideoMAE, VideoMAE V2 and UMT have in common."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Options
from model_zoo.layers.tubelet_vit import TubeletViT, TubeletViTConfig
from model_zoo.umt import UMT
from model_zoo.videomae import VideoMAE
from model_zoo.videomaev2 import VideoMAEv2
from tests.detfill import clip, fill_model

CONFIG = TubeletViTConfig(dim=24, depth=3, num_heads=3, mlp_dim=48)
OPTIONS = Options(num_frames=4, height_px=48, width_px=48, num_classes=5)
FAMILIES = (VideoMAE, VideoMAEv2, UMT)

Family = Callable[[TubeletViTConfig, Options], TubeletViT]


def tiny(family: Family = VideoMAE, *, config: TubeletViTConfig = CONFIG, **changes: Any) -> Any:
    return family(config, replace(OPTIONS, **changes))


def run(model: nn.Module, clips: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = fill_model(model)(clips)
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_materialised_and_fused_attention_agree(family):
    clips = clip((2, 3, 4, 48, 48))

    eager = run(tiny(family, attention="eager"), clips)

    assert (eager - run(tiny(family), clips)).abs().max() < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_that_asks_for_a_gradient_gets_one(family):
    model = tiny(family, config=replace(CONFIG, drop_path_rate=0.0)).double()

    model(clip((2, 3, 4, 48, 48))).square().sum().backward()

    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in model.named_parameters()} - {"pos_embed"}
    assert all(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_keys_have_no_bias():
    model = tiny()
    fill_model(model)
    x = clip((1, 6, 24))
    attn = model.blocks[0].attn

    keys = torch.nn.functional.linear(x, attn.qkv.weight[24:48])
    biased = attn.qkv.weight.new_zeros(72)
    biased[:24], biased[48:] = attn.q_bias, attn.v_bias
    whole = torch.nn.functional.linear(x, attn.qkv.weight, biased)

    assert torch.equal(whole[..., 24:48], keys)
    q, k, v = (part.unflatten(-1, (3, 8)).transpose(1, 2) for part in whole.chunk(3, dim=-1))
    mixed = ((q @ k.mT) * 8**-0.5).softmax(-1) @ v
    expected = attn.proj(mixed.transpose(1, 2).flatten(2))
    assert (attn(x) - expected).abs().max() < 1e-12


def test_tokens_are_averaged_before_they_are_normalised():
    model = tiny()
    fill_model(model)
    tokens: list[Tensor] = []
    model.blocks[2].register_forward_hook(lambda *args: tokens.append(args[-1]))

    logits = model(clip((1, 3, 4, 48, 48)))

    mean = tokens[0].mean(dim=1)
    expected = model.head(model.fc_norm(mean))
    assert torch.equal(logits, expected)


def test_frames_and_pixels_that_fill_no_tubelet_are_left_out():
    clips = clip((1, 3, 5, 63, 50))

    whole = run(tiny(num_frames=5, height_px=63, width_px=50), clips)

    assert torch.equal(whole, run(tiny(), clips[:, :, :4, :48, :48].contiguous()))


@pytest.mark.parametrize("family", [VideoMAE, VideoMAEv2])
def test_frames_need_not_be_square(family):
    assert run(tiny(family, width_px=80), clip((2, 3, 4, 48, 80))).shape == (2, 5)


def test_training_drops_whole_branches_and_parts_of_the_mean_token():
    clips = clip((8, 3, 4, 48, 48))
    for path_rate, head_rate in ((0.9, 0.0), (0.0, 0.9)):
        config = replace(CONFIG, drop_path_rate=path_rate, head_dropout_rate=head_rate)
        model = fill_model(tiny(config=config))
        assert torch.equal(model(clips), model(clips))
        model.train()
        assert not torch.equal(model(clips), model(clips))


def test_training_with_nothing_to_drop_equals_evaluation():
    model = fill_model(tiny(config=replace(CONFIG, drop_path_rate=0.0)))
    clips = clip((2, 3, 4, 48, 48))

    assert torch.equal(model(clips), model.train()(clips))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_stay_half(family, dtype):
    model = tiny(family).to(dtype).eval()

    assert model(clip((1, 3, 4, 48, 48)).to(dtype)).dtype == dtype


def test_the_graph_compiles_whole():
    model = tiny().double().eval()
    clips = clip((1, 3, 4, 48, 48))

    compiled: Any = torch.compile(model, backend="eager", fullgraph=True)

    assert torch.equal(compiled(clips), model(clips))


def test_a_clip_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(UnsupportedInputError, match=r"\(4, 48, 48\), got: \(6, 48, 48\)"):
        tiny()(torch.zeros(1, 3, 6, 48, 48))


def test_a_clip_smaller_than_one_tubelet_is_refused():
    with pytest.raises(UnsupportedInputError, match="at least 2 frames, got: 1"):
        tiny(num_frames=1)
    with pytest.raises(UnsupportedInputError, match="16 x 16 px, got: 48 x 15"):
        tiny(width_px=15)
