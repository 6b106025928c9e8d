import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from tests.measure.counting.models import (
    Attention,
    Called,
    Convolutions,
    Failing,
    FunctionalLinear,
    OutOfLuckError,
    meta,
    on_meta,
)
from vbench.core.types import Case, ClipSpec
from vbench.measure import subject
from vbench.measure.counting.exact import OperationCount, UncountableError, count_operations


def forward_count(model: nn.Module, *inputs: Tensor) -> OperationCount:
    def step() -> object:
        with torch.inference_mode():
            return model(*inputs)

    return count_operations(model, step)


def training_count(model: nn.Module, *inputs: Tensor) -> OperationCount:
    return count_operations(model, lambda: model(*inputs).sum().backward())


@pytest.fixture(scope="module")
def library() -> Iterator[torch.library.Library]:
    library = torch.library.Library("counting_test", "DEF")
    library.define("product(Tensor a, Tensor b) -> Tensor")
    library.define("declared(Tensor a, Tensor b) -> Tensor")
    library.define("seen(Tensor(a) x) -> Tensor(a)")
    library.define("fresh(int n) -> Tensor")
    for name in ("product", "declared"):
        library.impl(name, lambda a, b: a.new_empty(a.shape[0], b.shape[1]), "Meta")
    library.impl("seen", lambda x: x.view(-1), "Meta")
    library.impl("fresh", lambda n: torch.empty(n, device="meta"), "CompositeExplicitAutograd")
    formula = register_flop_formula(torch.ops.counting_test.declared)
    formula(lambda a, b, *, out_shape=None: 2 * a[0] * a[1] * b[1])
    yield library
    library._destroy()


@pytest.mark.parametrize("fused", [True, False])
def test_attention_counts_its_projections_and_both_products(fused):
    count = forward_count(on_meta(Attention(8, fused=fused)), meta(3, 10, 8))
    inside = "scaled_dot_product_attention" if fused else "matmul"
    assert count.by_operator() == {
        "linear": 3 * 4 * 10 * 8 * 8,
        inside: 3 * 2 * 10 * 10 * 8,
    }


def test_masked_and_causal_attention_count_all_of_the_scores():
    q = meta(2, 1, 6, 4)
    mask = torch.ones(6, 6, dtype=torch.bool, device="meta")
    full = forward_count(Called(lambda x, _: F.scaled_dot_product_attention(x, x, x), 1), q)
    causal = forward_count(
        Called(lambda x, _: F.scaled_dot_product_attention(x, x, x, is_causal=True), 1), q
    )
    masked = forward_count(
        Called(lambda x, _: F.scaled_dot_product_attention(x, x, x, attn_mask=mask), 1), q
    )
    assert full.macs == causal.macs == masked.macs == 2 * 2 * 6 * 6 * 4


@pytest.mark.filterwarnings("ignore:Using padding")
def test_convolutions_count_per_output_place_and_group():
    count = forward_count(on_meta(Convolutions()), meta(2, 3, 4, 8, 8))
    volume = 2 * 6 * 3 * 9 * (4 * 4 * 4)
    grouped = 2 * 6 * 27 * (4 * 4 * 4)
    even = 2 * 4 * 6 * 4 * (4 * 4)
    up = 2 * 4 * 1 * 9 * (4 * 4)
    line = 2 * 3 * 2 * 3 * (100 - 4)
    assert count.by_operator() == {"convolution": volume + grouped + even + up + line}


@pytest.mark.parametrize(
    ("function", "shape", "macs"),
    [
        (lambda x, w: x @ w, (8,), 6 * 8),
        (lambda x, w: torch.addmv(x[:, 0], x, w), (8,), 6 * 8),
        (lambda x, w: torch.dot(x[0], w), (8,), 8),
        (lambda x, w: torch.einsum("nk,km->nm", x, w), (8, 5), 6 * 8 * 5),
        (lambda x, w: x @ w, (4, 8, 5), 4 * 6 * 8 * 5),
        (lambda x, w: torch.baddbmm(x.new_zeros(1), x[None], w), (1, 8, 5), 6 * 8 * 5),
        (lambda x, w: F.linear(x, w), (5, 8), 6 * 8 * 5),
    ],
)
def test_products_of_every_kind_are_counted(function, shape, macs):
    assert forward_count(on_meta(Called(function, *shape)), meta(6, 8)).macs == macs


def test_a_transformer_layer_of_torch_is_counted_whole():
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=32, batch_first=True)
    count = forward_count(on_meta(layer).eval(), meta(3, 10, 8))
    assert count.macs == 3 * (4 * 10 * 8 * 8 + 2 * 10 * 10 * 8 + 2 * 10 * 8 * 32)
    assert not count.not_counted


def test_counts_on_cpu_equal_those_on_meta():
    model, x = Attention(8, fused=True).eval(), torch.randn(3, 10, 8)
    on_cpu = forward_count(model, x)
    assert on_cpu == forward_count(on_meta(model), x.to("meta"))
    assert on_cpu.macs > 0


def test_a_backward_pass_costs_each_product_once_a_gradient():
    model = on_meta(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)))
    count = training_count(model, meta(5, 8))
    first, second = 5 * 8 * 16, 5 * 16 * 4
    assert count.by("phase") == {
        ("backward",): first + 2 * second,  # nobody asks for the gradient of the input
        ("forward",): first + second,
    }


def test_the_backward_pass_of_a_depthwise_convolution_is_not_taken_for_a_dense_one():
    model = on_meta(nn.Conv3d(6, 6, 3, groups=6, padding=1))
    clips = meta(2, 6, 4, 8, 8).requires_grad_()
    forward = 2 * 6 * 27 * 4 * 8 * 8
    assert training_count(model, clips).macs == 3 * forward


def test_the_backward_pass_of_a_transposed_convolution_costs_twice_its_forward_pass():
    model = on_meta(nn.ConvTranspose2d(4, 2, 3, stride=2, groups=2))
    image = meta(2, 4, 5, 5).requires_grad_()
    assert training_count(model, image).macs == 3 * (2 * 4 * 9 * 25)


def test_an_operator_without_formula_is_refused_by_name(library):
    model = Called(torch.ops.counting_test.product, 8, 5)
    with pytest.raises(UncountableError, match="counting_test::product"):
        forward_count(on_meta(model), meta(6, 8))


def test_an_operator_with_a_declared_formula_is_counted_under_its_name(library):
    model = Called(torch.ops.counting_test.declared, 8, 5)
    count = forward_count(on_meta(model), meta(6, 8))
    assert count.by_operator() == {"counting_test::declared": 6 * 8 * 5}


def test_foreign_operators_that_only_view_or_allocate_pass(library):
    ops = torch.ops.counting_test
    model = Called(lambda x, w: ops.seen(x).sum() + ops.fresh(3).sum() + w.sum(), 1)
    assert forward_count(on_meta(model), meta(6, 8)).macs == 0


def test_work_inside_a_custom_autograd_function_is_counted():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            return x @ weight

    count = forward_count(on_meta(Called(Product.apply, 8, 5)), meta(6, 8))
    assert count.macs == 6 * 8 * 5


def test_work_that_no_formula_covers_is_listed():
    model = on_meta(Called(lambda x, w: torch.fft.rfft(x).real.sum() + torch.cdist(x, w), 3, 8))
    count = forward_count(model, meta(6, 8))
    assert count.macs == 0
    assert set(count.not_counted) == {"_fft_r2c", "_cdist_forward"}


def test_elementwise_work_norms_and_copies_are_not_listed_as_missed():
    model = nn.Sequential(
        nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.5), nn.Softmax(dim=-1), nn.BatchNorm1d(6)
    )
    count = training_count(on_meta(model), meta(2, 6, 8))
    assert count.macs == 0
    assert not count.not_counted


def test_counts_are_kept_by_part_of_the_model_and_by_type_of_layer():
    inner = nn.Sequential()
    inner.add_module("stem", nn.Linear(8, 8))
    inner.add_module("blocks", nn.Sequential(Attention(8, fused=False), FunctionalLinear()))
    count = forward_count(on_meta(nn.Sequential(inner)), meta(1, 10, 8))
    stem, products, last = 640, 2 * 10 * 10 * 8, 10 * 8 * 5
    assert count.by("module") == {("blocks",): 4 * 640 + products + last, ("stem",): stem}
    by_layer = {layer.rpartition(".")[2]: macs for (layer,), macs in count.by("layer").items()}
    assert by_layer == {"Linear": 5 * 640, "Attention": products, "FunctionalLinear": last}


@pytest.mark.parametrize("model", [Attention(8, fused=True), Failing()])
def test_counting_leaves_nothing_behind_even_when_the_model_fails(model):
    names = list(model.state_dict())
    with contextlib.suppress(OutOfLuckError):
        forward_count(on_meta(model), meta(2, 10, 8))
    assert list(model.state_dict()) == names
    assert not module_hooks._global_forward_hooks
    assert not module_hooks._global_forward_pre_hooks


def built(name: str, num_frames: int, batch_size: int, **options) -> subject.Subject:
    case = Case(
        model=name,
        clip=ClipSpec(num_frames=num_frames),
        batch_size=batch_size,
        device="meta",
        **options,
    )
    return subject.build(case, batch_size)


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("name", ["timesformer_tiny", "videomamba_tiny"])
def test_totals_equal_those_of_torch_where_it_counts_right(name, mode):
    at = built(name, 8, 2, mode=mode)
    count = count_operations(at.model, at.step)
    with FlopCounterMode(display=False) as counter:
        at.step()
    assert 2 * count.macs == counter.get_total_flops()
    assert not count.not_counted


def test_videomamba_is_counted_with_its_scan_in_both_conventions():
    at = built("videomamba_tiny", 8, 1)
    count = count_operations(at.model, at.step)
    tokens, channels, states, layers = 1569, 384, 16, 24
    state_steps = 2 * layers * tokens * channels * states
    assert count.macs == 11_712_451_584
    assert count.by_operator()["model_zoo::selective_scan"] == (3 + 1 / states) * state_steps
    assert count.vmamba_scan_flops == (9 + 2 / states) * state_steps


@pytest.mark.parametrize("name", ["timesformer_base", "videomamba_tiny"])
def test_a_large_input_is_counted_at_once(name):
    at = built(name, 64, 128)
    count_operations(at.model, at.step)
    start_s = time.process_time()
    count_operations(at.model, at.step)
    assert time.process_time() - start_s < 1.0


@pytest.mark.slow
def test_a_compiled_model_is_counted_as_its_eager_original():
    code = (
        "import torch; from torch import nn\n"
        "from vbench.measure.counting.exact import count_operations\n"
        "model = nn.Linear(8, 4, device='meta'); x = torch.empty(5, 8, device='meta')\n"
        "compiled = torch.compile(model)\n"
        "raise SystemExit(count_operations(model, lambda: compiled(x)).macs != 160)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
