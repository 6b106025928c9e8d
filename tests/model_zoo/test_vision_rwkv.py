"""Vision-RWKV against the official names and published sizes, and against a transcription.

No reference logits exist: the official code runs on CUDA only, and its kernels deviate from the
paper's equation. The block is checked against the paper's formulas written out here instead.
"""

import pytest
import torch
from torch import Tensor, nn

from model_zoo import UnsupportedInputError, create_model
from model_zoo.kernels.bi_wkv import vision_rwkv_flops
from model_zoo.kernels.bi_wkv.reference import bi_wkv as definition
from model_zoo.layers.rwkv import q_shift
from model_zoo.vision_rwkv import VisionRWKV
from model_zoo.weights import load_checkpoint
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import macs, shapes_of

LAYER = {  # of OpenGVLab/Vision-RWKV@0e0e38a, backbones/vrwkv.py, at width 192
    **dict.fromkeys(("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias"), (192,)),
    **dict.fromkeys(("att.spatial_decay", "att.spatial_first"), (192,)),
    **{f"att.spatial_mix_{name}": (1, 1, 192) for name in "kvr"},
    **{f"ffn.spatial_mix_{name}": (1, 1, 192) for name in "kr"},
    **{f"att.{name}.weight": (192, 192) for name in ("key", "value", "receptance", "output")},
    "ffn.key.weight": (768, 192),
    "ffn.receptance.weight": (192, 192),
    "ffn.value.weight": (192, 768),
}
OFFICIAL = {
    "backbone.pos_embed": (1, 196, 192),
    "backbone.patch_embed.projection.weight": (192, 3, 16, 16),
    "backbone.patch_embed.projection.bias": (192,),
    "backbone.layers.0.ln0.weight": (192,),
    "backbone.layers.0.ln0.bias": (192,),
    **{f"backbone.layers.{i}.{name}": shape for i in range(12) for name, shape in LAYER.items()},
    "backbone.ln1.weight": (192,),
    "backbone.ln1.bias": (192,),
    "head.fc.weight": (1000, 192),
    "head.fc.bias": (1000,),
}


def built(resolution: int | tuple[int, int] = 64, num_classes: int = 5) -> VisionRWKV:
    model = create_model("vision_rwkv_tiny", resolution=resolution, num_classes=num_classes)
    assert isinstance(model, VisionRWKV)
    return model


def filled(resolution: int | tuple[int, int] = 64) -> nn.Module:
    """Deterministic weights with decays as far apart as trained ones."""
    model = fill_model(built(resolution))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("spatial_decay", "spatial_first")):
                parameter.mul_(40)  # detfill gives 0.05, so about 2
    return model


def test_names_and_shapes_are_the_official_ones():
    with torch.device("meta"):
        model = create_model("vision_rwkv_tiny")
    assert shapes_of(model) == OFFICIAL


def test_parameters_and_macs_are_the_published_ones():
    # README.md of OpenGVLab/Vision-RWKV@0e0e38a: VRWKV-T, 6.2 M, 1.2 G at 224 px
    with torch.device("meta"):
        model = create_model("vision_rwkv_tiny")
    assert sum(p.numel() for p in model.parameters()) == 6155176
    N, D = 196, 192
    matrices = 12 * 13 * N * D * D + N * 768 * D + 1000 * D
    assert macs(model, [1, 3, 1, 224, 224]) == matrices + 12 * 7 * N * D
    # the official counter adds 29 operations an element for Bi-WKV to multiply-adds and norms
    printed = matrices + 12 * vision_rwkv_flops((1, N, D)) + (2 * 12 + 2) * 5 * N * D
    assert round(printed / 1e9, 1) == 1.2


def moved(image: Tensor, rows: int, columns: int) -> Tensor:
    """What stood `rows` above and `columns` to the left of each pixel, zero outside: (H, W)."""
    H, W = image.shape
    result = torch.zeros_like(image)
    for i in range(H):
        for j in range(W):
            if 0 <= i - rows < H and 0 <= j - columns < W:
                result[i, j] = image[i - rows, j - columns]
    return result


@pytest.mark.parametrize("grid", [(3, 4), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize(("dim", "num_groups"), [(8, 1), (10, 1), (16, 2), (18, 2)])
def test_quarters_come_from_the_four_neighbours(grid, dim, num_groups):
    x = clip((2, grid[0] * grid[1], dim))
    shifted = q_shift(x, grid, num_groups=num_groups)
    assert shifted.shape == x.shape
    size = dim // num_groups
    steps = [(0, 1), (0, -1), (1, 0), (-1, 0), (0, 0)]  # from left, right, above, below, itself
    for c in range(dim):
        step = steps[min(c % size // (size // 4), 4)]
        for b in range(2):
            expected = moved(x[b, :, c].reshape(grid), *step).flatten()
            assert torch.equal(shifted[b, :, c], expected)


def transcribed(state: dict[str, Tensor], image: Tensor, table_grid: tuple[int, int]) -> Tensor:
    """The paper's equations on one image (3, H, W) whose sides are multiples of 16."""

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    rows, columns = image.shape[1] // 16, image.shape[2] // 16
    kernel = state["backbone.patch_embed.projection.weight"]
    patches = [
        (kernel * image[:, 16 * i : 16 * i + 16, 16 * j : 16 * j + 16]).sum((1, 2, 3))
        for i in range(rows)
        for j in range(columns)
    ]
    table = state["backbone.pos_embed"].reshape(*table_grid, -1).permute(2, 0, 1)[None]
    if table_grid != (rows, columns):
        table = nn.functional.interpolate(table, (rows, columns), mode="bicubic")
    x = torch.stack(patches) + state["backbone.patch_embed.projection.bias"]
    x = x + table[0].flatten(1).t()

    def project(x: Tensor, neighbours: Tensor, block: str, kind: str, share: str) -> Tensor:
        mu = state[f"{block}.spatial_mix_{share}"][0, 0]
        return (mu * x + (1 - mu) * neighbours) @ state[f"{block}.{kind}.weight"].t()

    for i in range(12):
        layer = f"backbone.layers.{i}"
        if i == 0:
            x = norm(x, f"{layer}.ln0")
        y = norm(x, f"{layer}.ln1")
        neighbours = q_shift(y[None], (rows, columns))[0]
        r = project(y, neighbours, f"{layer}.att", "receptance", "r").sigmoid()
        k = project(y, neighbours, f"{layer}.att", "key", "k")
        v = project(y, neighbours, f"{layer}.att", "value", "v")
        w, u = state[f"{layer}.att.spatial_decay"], state[f"{layer}.att.spatial_first"]
        mean = definition(k[None], v[None], w / len(x), u / len(x))[0]
        x = x + (r * mean) @ state[f"{layer}.att.output.weight"].t()
        y = norm(x, f"{layer}.ln2")
        neighbours = q_shift(y[None], (rows, columns))[0]
        k = project(y, neighbours, f"{layer}.ffn", "key", "k").relu() ** 2
        r = project(y, neighbours, f"{layer}.ffn", "receptance", "r").sigmoid()
        x = x + r * (k @ state[f"{layer}.ffn.value.weight"].t())
    mean = norm(x, "backbone.ln1").mean(0)
    return mean @ state["head.fc.weight"].t() + state["head.fc.bias"]


@pytest.mark.parametrize("size", [(64, 64), (16, 48), (80, 64)])
def test_logits_are_those_of_the_equations(size):
    model, images = filled(), clip((2, 3, 1, *size))
    with torch.inference_mode():
        logits = model(images)
        state = dict(model.state_dict())
        for row, image in zip(logits, images[:, :, 0], strict=True):
            assert (row - transcribed(state, image, (4, 4))).abs().max() < 1e-9


def test_a_part_of_a_patch_is_filled_up_with_zeros():
    model, images = filled((64, 48)), clip((1, 3, 1, 57, 33))
    whole = nn.functional.pad(images, (0, 15, 0, 7))
    with torch.inference_mode():
        assert torch.equal(model(images), model(whole))
    assert shapes_of(built((57, 33)))["backbone.pos_embed"] == (1, 12, 192)


def test_gradients_reach_every_parameter():
    model = filled().train()
    model(clip((2, 3, 1, 64, 64))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_narrow_types_give_logits_of_their_type(dtype):
    exact = filled()(clip((1, 3, 1, 64, 64)))
    logits = filled().to(dtype)(clip((1, 3, 1, 64, 64)).to(dtype))
    assert logits.dtype == dtype
    tolerance = {torch.bfloat16: 0.1, torch.float32: 1e-4}[dtype]
    assert (logits.double() - exact).abs().max() < tolerance * exact.abs().max()


@pytest.mark.slow
def test_it_compiles_without_a_graph_break():
    model, images = filled(), clip((1, 3, 1, 64, 64))
    with torch.inference_mode():
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert (compiled(images) - model(images)).abs().max() < 1e-12


def test_the_official_layout_loads():
    source = built(224, 1000)
    official = {"state_dict": source.state_dict(), "meta": {"epoch": 300}}
    model = built(224, 1000)
    report = load_checkpoint(model, official)
    assert report.head_loaded
    assert all(torch.equal(x, source.state_dict()[k]) for k, x in model.state_dict().items())


def test_a_table_of_another_size_is_resized_as_the_forward_pass_does():
    source, images = filled(64), clip((1, 3, 1, 96, 80))
    model = built((96, 80)).double().eval()
    report = load_checkpoint(model, source.state_dict())
    assert any("resized" in note for note in report.notes)
    with torch.inference_mode():
        assert (model(images) - source(images)).abs().max() < 1e-9


def test_only_images_are_taken():
    with pytest.raises(UnsupportedInputError, match="clips of 1 frame, not: 2"):
        create_model("vision_rwkv_tiny", num_frames=2)
    with pytest.raises(UnsupportedInputError, match=r"\(B, 3, 1, H, W\), not of shape"):
        built()(torch.zeros(1, 3, 2, 64, 64))
