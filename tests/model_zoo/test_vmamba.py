from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from model_zoo import UnsupportedInputError, create_model, load_checkpoint
from model_zoo._registry import Options
from model_zoo.kernels.selective_scan import multiply_adds, vmamba_flops
from model_zoo.vmamba import CrossScan, VMamba, VMambaConfig
from tests.detfill import clip, fill_model
from tests.model_zoo.reference import TOLERANCE, macs

# Of the official classes: parameters, state-dict entries, GFLOPs printed for 224 px.
OFFICIAL = {"vmamba_tiny": (22_893_448, 212, 5.6), "vmamba_tiny_s1l8": (30_249_064, 276, 4.9)}

# Run on the official code with its reference scan: frame, first logits, sum, norm.
OFFICIAL_LOGITS = [
    (
        "vmamba_tiny",
        (35, 96),
        [0.9990159335185561, -0.038301192899155505, 0.29254375729213056, 0.602372738893309],
        7.59895692698464,
        17.590340792174853,
    ),
    (
        "vmamba_tiny_s1l8",
        (50, 75),
        [-0.800338398748396, 1.0354702339448196, -0.47792711387193804, -0.20419378857499762],
        -21.852072376818818,
        15.623954205903662,
    ),
    (
        "vmamba_tiny_s1l8",
        (1, 1),
        [-0.5701198157349667, -0.5060194602064328, 0.16871336334073259, 0.8069566872913826],
        -79.1151910555055,
        32.72513226217742,
    ),
]

VANILLA = VMambaConfig(
    dim=16, depths=(1, 1, 1, 1), num_states=4, expand=2, mlp_ratio=0, is_vanilla=True
)
CURRENT = VMambaConfig(dim=16, depths=(1, 1, 1, 1))


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(name)


def little(
    config: VMambaConfig, height_px: int = 32, width_px: int = 64, num_frames: int = 1
) -> VMamba:
    options = Options(num_frames=num_frames, height_px=height_px, width_px=width_px, num_classes=5)
    return VMamba(config, options)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_number_of_parameters_is_the_official_one(name):
    num_parameters, num_entries, _ = OFFICIAL[name]
    model = on_meta(name)

    assert sum(p.numel() for p in model.parameters()) == num_parameters
    assert len(model.state_dict()) == num_entries


def test_a_vanilla_blocks_parameters_have_the_official_names_and_shapes():
    state = on_meta("vmamba_tiny").state_dict()

    assert {
        name.removeprefix("layers.1.blocks.1."): tuple(value.shape)
        for name, value in state.items()
        if name.startswith("layers.1.blocks.1.")
    } == {
        "norm.weight": (192,),
        "norm.bias": (192,),
        "op.in_proj.weight": (768, 192),
        "op.conv2d.weight": (384, 1, 3, 3),
        "op.conv2d.bias": (384,),
        "op.x_proj_weight": (4, 44, 384),
        "op.dt_projs_weight": (4, 384, 12),
        "op.dt_projs_bias": (4, 384),
        "op.A_logs": (1536, 16),
        "op.Ds": (1536,),
        "op.out_norm.weight": (384,),
        "op.out_norm.bias": (384,),
        "op.out_proj.weight": (192, 384),
    }
    assert state["layers.0.downsample.2.weight"].shape == (192, 384)
    assert {n for n in state if not n.startswith("layers.")} == {
        *(f"patch_embed.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")),
        *(f"classifier.{part}.{kind}" for part in ("norm", "head") for kind in ("weight", "bias")),
    }


def test_a_current_blocks_parameters_have_the_official_names_and_shapes():
    state = on_meta("vmamba_tiny_s1l8").state_dict()

    assert {
        name.removeprefix("layers.1.blocks.1."): tuple(value.shape)
        for name, value in state.items()
        if name.startswith("layers.1.blocks.1.")
    } == {
        "norm.weight": (192,),
        "norm.bias": (192,),
        "op.in_proj.weight": (192, 192),
        "op.conv2d.weight": (192, 1, 3, 3),
        "op.x_proj.weight": (56, 192),
        "op.dt_projs.weight": (768, 12),
        "op.dt_projs_bias": (4, 192),
        "op.A_logs": (768, 1),
        "op.Ds": (768,),
        "op.out_norm.weight": (192,),
        "op.out_norm.bias": (192,),
        "op.out_proj.weight": (192, 192),
        "norm2.weight": (192,),
        "norm2.bias": (192,),
        "mlp.fc1.weight": (768, 192),
        "mlp.fc1.bias": (768,),
        "mlp.fc2.weight": (192, 768),
        "mlp.fc2.bias": (192,),
    }
    assert state["layers.0.downsample.1.weight"].shape == (192, 96, 3, 3)
    assert state["layers.0.downsample.3.weight"].shape == (192,)
    assert {n for n in state if n.startswith("patch_embed.")} == {
        f"patch_embed.{i}.{kind}" for i in (0, 2, 5, 7) for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("name", OFFICIAL)
def test_macs_are_those_printed_once_the_scan_is_counted_as_the_repository_does(name):
    model = on_meta(name)
    assert isinstance(model, VMamba)
    config = model.config

    ours = macs(model, [1, 3, 1, 224, 224])

    for stage, depth in enumerate(config.depths):
        channels = config.expand * config.dim << stage
        scans = (4, depth, (56 >> stage) ** 2, channels)
        ours -= multiply_adds(scans, config.num_states)
        ours += vmamba_flops(scans, config.num_states, has_gate=False)
    assert ours / 1e9 == pytest.approx(OFFICIAL[name][2], abs=0.05)


@pytest.mark.parametrize(("name", "frame", "first", "total", "norm"), OFFICIAL_LOGITS)
def test_logits_equal_those_of_the_official_code(name, frame, first, total, norm):
    model = fill_model(create_model(name, resolution=frame))

    with torch.inference_mode():
        output = model(clip((1, 3, 1, *frame)))

    assert output.flatten()[:4].tolist() == pytest.approx(first, rel=0, abs=TOLERANCE)
    assert output.sum().item() == pytest.approx(total, rel=0, abs=1e-7)
    assert output.norm().item() == pytest.approx(norm, rel=0, abs=1e-7)


def test_turning_an_image_and_the_kernels_by_the_diagonal_swaps_rows_and_columns():
    model = fill_model(little(CURRENT))
    clips = clip((1, 3, 1, 32, 64))
    expected = model(clips)

    state = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in state.items():
        is_kernel = value.ndim == 4
        per_scan = any(part in name for part in ("x_proj", "dt_projs", "A_logs", ".Ds"))
        if is_kernel:
            state[name] = value.transpose(2, 3)
        elif per_scan:
            scans = value.reshape(4, -1)[[1, 0, 3, 2]]
            state[name] = scans.reshape(value.shape)
    model.load_state_dict(state)

    turned = model(clips.transpose(3, 4))
    torch.testing.assert_close(turned, expected, rtol=0, atol=TOLERANCE)


def test_what_the_official_code_cannot_take_is_refused():
    with pytest.raises(UnsupportedInputError, match="1 frame, not: 4"):
        little(CURRENT, num_frames=4)
    with pytest.raises(UnsupportedInputError, match="multiple of 8 patches of 4 px, got: 40 x 64"):
        little(VANILLA, 40, 64)
    with pytest.raises(UnsupportedInputError, match="got: 32 x 16"):
        little(VANILLA)(torch.zeros(1, 3, 1, 32, 16))


@pytest.mark.parametrize("config", [VANILLA, CURRENT], ids=["vanilla", "current"])
def test_gradients_reach_every_parameter(config):
    model = little(config).train()

    model(clip((4, 3, 1, 32, 64)).float()).square().mean().backward()

    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("config", [VANILLA, CURRENT], ids=["vanilla", "current"])
def test_half_precision_gives_about_the_same_logits(config):
    model = fill_model(little(config))
    clips = clip((2, 3, 1, 32, 64))
    exact = model(clips)

    rough = model.to(torch.bfloat16)(clips.to(torch.bfloat16))

    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.double(), exact, rtol=0.1, atol=0.2)


EARLIER_NAMES = (
    ("patch_embed.0.", "patch_embed.proj."),
    ("patch_embed.2.", "patch_embed.norm."),
    ("classifier.", ""),
    (".op.", ".self_attention."),
    (".downsample.1.", ".downsample.norm."),
    (".downsample.2.", ".downsample.reduction."),
)


def earlier(name: str) -> str:
    if ".blocks." in name:
        name = name.replace(".norm.", ".ln_1.")
    for today, before in EARLIER_NAMES:
        name = name.replace(today, before)
    return name


def test_a_vanilla_file_loads_under_its_earlier_names():
    weights = fill_model(little(VANILLA)).state_dict()
    file = {"model": {earlier(name): value for name, value in weights.items()}}
    model = little(VANILLA).double()

    report = load_checkpoint(model, file)

    assert report.head_loaded
    assert "norm.weight" in file["model"]
    assert "layers.0.blocks.0.self_attention.x_proj_weight" in file["model"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_a_current_file_loads_with_its_stacked_and_convolutional_projections():
    weights = fill_model(little(CURRENT)).state_dict()
    model = little(CURRENT).double()

    report = load_checkpoint(model, {"model": dict(map(as_released, weights.items()))})

    assert any("reshaped to matrices" in note for note in report.notes)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def as_released(entry: tuple[str, Tensor]) -> tuple[str, Tensor]:
    name, value = entry
    for today, before in ((".x_proj.weight", ".x_proj_weight"), (".dt_projs.w", ".dt_projs_w")):
        if today in name:
            return name.replace(today, before), value.unflatten(0, (4, -1))
    is_convolution = name.endswith(("in_proj.weight", "out_proj.weight", "fc1.weight"))
    return name, value[:, :, None, None] if is_convolution else value


class Operators(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("config", [VANILLA, CURRENT])
def test_scans_share_a_projection_and_only_columns_are_copied(config):
    model = fill_model(little(config))
    mixer = next(module for module in model.modules() if isinstance(module, CrossScan))
    x = torch.randn(2, 6, 4, mixer.out_proj.out_features, dtype=torch.float64)
    with torch.no_grad(), Operators() as operators:
        mixer(x)
    # into the mixer, to what scans read, out of it; then the step sizes of rows and of columns
    assert (operators.counts["mm"], operators.counts["bmm"]) == (3, 2)
    assert operators.counts["clone"] == 2  # tokens by column, and what was projected of them
    assert operators.counts["exp"] == 1
