import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.measure.counting.models import (
    Attention,
    Called,
    DerivedLinear,
    FunctionalLinear,
    meta,
    on_meta,
)
from vbench.measure.counting.compare import Difference, compare
from vbench.measure.counting.exact import count_operations
from vbench.measure.counting.with_fvcore import count_with_fvcore
from vbench.measure.counting.with_thop import count_with_thop

COUNTERS = {"fvcore": count_with_fvcore, "thop": count_with_thop}


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight


def differences(model: nn.Module, x: Tensor, counter: str) -> dict[str, Difference]:
    model = on_meta(model).eval()

    def step() -> object:
        with torch.inference_mode():
            return model(x)

    ours, theirs = count_operations(model, step), COUNTERS[counter](model, x)
    rows = compare(ours, theirs)
    assert sum(row.ours - row.theirs for row in rows) == pytest.approx(ours.macs - theirs.macs)
    assert all(counter in row.why for row in rows if row.reason not in ("EQUAL", "UNEXPLAINED"))
    return {row.operator: row for row in rows}


def test_what_both_count_alike_is_said_to_be_equal():
    rows = differences(nn.Linear(8, 5), meta(6, 8), "fvcore")
    assert [(row.ours, row.theirs, row.reason) for row in rows.values()] == [(240, 240, "EQUAL")]


def test_the_largest_difference_comes_first():
    model = nn.Sequential(nn.LayerNorm(8), Attention(8, fused=True))
    rows = list(differences(model, meta(2, 100, 8), "fvcore").values())
    gaps = [abs(row.ours - row.theirs) for row in rows]
    assert gaps == sorted(gaps, reverse=True)
    assert rows[0].reason == "SDPA_MISSED"


@pytest.mark.parametrize(
    ("model", "shape", "operator", "reason"),
    [
        (Attention(8, fused=True), (2, 10, 8), "scaled_dot_product_attention", "SDPA_MISSED"),
        (Called(lambda x, w: torch.baddbmm(x, x, w), 2, 8, 8), (2, 8, 8), "baddbmm", "NO_RULE"),
        (Called(lambda x, w: x @ w, 4, 8, 5), (6, 8), "matmul", "BROADCAST"),
        (Called(Product.apply, 8, 5), (6, 8), "matmul", "AUTOGRAD_FN"),
        (nn.LayerNorm(8), (6, 8), "layer_norm", "NORM_COUNTED"),
        (nn.Upsample(scale_factor=2), (1, 2, 4, 4), "upsample_nearest2d", "ELEMENTWISE_COUNTED"),
    ],
)
def test_fvcores_blind_spots_are_named(model, shape, operator, reason):
    assert differences(model, meta(*shape), "fvcore")[operator].reason == reason


def test_fvcores_rounded_einsum_is_told_from_a_missed_one():
    model = Called(lambda x, w: torch.einsum("abcd,dcef->abef", x, w), 13, 7, 11, 3)
    row = differences(model, meta(17, 19, 7, 13), "fvcore")["einsum"]
    assert row.ours != row.theirs
    assert row.reason == "EINSUM_ROUNDED"


@pytest.mark.parametrize(
    ("model", "shape", "operator", "reason"),
    [
        (
            Attention(8, fused=True),
            (2, 10, 8),
            "Attention: scaled_dot_product_attention",
            "SDPA_MISSED",
        ),
        (Attention(8, fused=False), (2, 10, 8), "Attention: matmul", "FUNCTIONAL_MATMUL"),
        (DerivedLinear(8, 5), (6, 8), "DerivedLinear: linear", "SUBCLASS_RULE"),
        (FunctionalLinear(), (6, 8), "FunctionalLinear: linear", "FUNCTIONAL_MATMUL"),
        (
            Called(lambda x, w: F.conv2d(x, w), 5, 3, 2, 2),
            (2, 3, 8, 8),
            "Called: convolution",
            "FUNCTIONAL_CONV",
        ),
        (
            Called(lambda x, w: torch.einsum("nk,km->nm", x, w), 8, 5),
            (6, 8),
            "Called: einsum",
            "EINSUM_MISSED",
        ),
        (nn.Sequential(nn.LayerNorm(8)), (6, 8), "LayerNorm", "NORM_COUNTED"),
        (nn.Sequential(nn.Softmax(dim=-1)), (6, 8), "Softmax", "ELEMENTWISE_COUNTED"),
        (nn.Sequential(nn.Linear(8, 5)), (6, 8), "Linear", "EQUAL"),
    ],
)
def test_thops_blind_spots_are_named(model, shape, operator, reason):
    assert differences(model, meta(*shape), "thop")[operator].reason == reason


def test_a_layer_called_behind_its_own_back_is_named_for_thop():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)
            self.wrapped = nn.Sequential(self.layer)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer.forward(self.layer(x))

    row = differences(Twice(), meta(6, 8), "thop")["Twice: linear"]
    assert (row.ours, row.theirs, row.reason) == (384, 0, "FUNCTIONAL_MATMUL")


def test_an_operator_of_the_zoo_is_named_for_both():
    import model_zoo

    with torch.device("meta"):
        model = model_zoo.create_model("videomamba_tiny", num_frames=2, resolution=32)
    clips = meta(1, 3, 2, 32, 32)
    assert differences(model, clips, "fvcore")["model_zoo::selective_scan"].reason == "CUSTOM_OP"
    rows = differences(model, clips, "thop")
    scans = [row for name, row in rows.items() if name.endswith("model_zoo::selective_scan")]
    assert [row.reason for row in scans] == ["CUSTOM_OP"]
