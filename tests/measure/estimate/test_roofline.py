import pytest
import torch

from vbench.measure.counting.formulas import formula_of
from vbench.measure.estimate.roofline import NoPeakError, Roofline, special_functions
from vbench.measure.hardware import named

aten = torch.ops.aten
H100 = named("NVIDIA H100 80GB HBM3")


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "allow_tf32", "peak", "unit"),
    [
        (torch.bfloat16, False, 989.4e12, "matrix units"),
        (torch.float16, False, 989.4e12, "matrix units"),
        (torch.float32, True, 494.7e12, "matrix units"),
        (torch.float32, False, 66.9e12, "vector units"),
    ],
)
def test_a_large_product_takes_its_flops_at_the_peak_of_its_type(dtype, allow_tf32, peak, unit):
    a = meta(4096, 4096, dtype=dtype)
    roofline = Roofline(gpu=H100, allow_tf32=allow_tf32)
    flops = 2 * 4096**3
    seconds, bound = roofline.seconds(aten.mm.default, (a, a), flops=flops, moved_bytes=1)
    assert seconds == pytest.approx(flops / peak)
    assert bound == unit


def test_elementwise_work_takes_its_bytes_at_the_bandwidth():
    roofline = Roofline(gpu=H100, allow_tf32=False)
    seconds, bound = roofline.seconds(
        aten.add.Tensor, (meta(10), 1), flops=0, moved_bytes=3_350_000_000_000
    )
    assert seconds == pytest.approx(1.0)
    assert bound == "memory"


def test_a_scan_is_bound_by_its_exponentials():
    import model_zoo.kernels.selective_scan  # noqa: F401

    operator = torch.ops.model_zoo.selective_scan.default
    G, B, L, E, N = 2, 64, 12545, 384, 16
    u = meta(G, B, L, E, dtype=torch.bfloat16)
    state = meta(G, B, L, N, dtype=torch.bfloat16)
    args = (u, u, meta(G, E, N), state, state, meta(G, E), u[0], meta(G, E))
    options = {"delta_softplus": True, "reverse": [False, True], "checkpoint_steps": 0}
    formula = formula_of(operator)
    assert formula is not None
    flops = formula(*args, **options, out_val=operator(*args, **options))
    moved = 2 * (4 * u[0].numel() + 2 * u[0].numel())
    seconds, bound = Roofline(gpu=H100, allow_tf32=False).seconds(
        operator, args, flops=flops, moved_bytes=moved
    )
    assert bound == "exponentials"
    assert seconds == pytest.approx(G * B * L * E * N / H100.special_functions_per_s)


def operators_of_the_zoo():
    from model_zoo.kernels import bi_wkv, bi_wkv_matrix, causal_conv1d, selective_scan  # noqa: F401

    return torch.ops.model_zoo


B, T, E, N, H, D, G = 3, 50, 24, 16, 4, 6, 2
X, HEADS, DIRECTIONS = meta(B, T, E), meta(B, T, H, D), meta(G, B, T, E)


@pytest.mark.parametrize(
    ("name", "args", "options", "count"),
    [
        ("selective_scan", (DIRECTIONS, DIRECTIONS, meta(G, E, N)), {}, G * B * T * E * N),
        (
            "selective_scan_backward",
            (X, DIRECTIONS, DIRECTIONS, meta(G, E, N)),
            {},
            G * B * T * E * N,
        ),
        ("causal_conv1d", (X, meta(G, E, 4)), {"silu": True}, G * B * T * E),
        ("causal_conv1d", (X, meta(G, E, 4)), {"silu": False}, 0),
        ("causal_conv1d_backward", (DIRECTIONS, X), {"silu": True}, G * B * T * E),
        ("bi_wkv", (X, X, meta(E), meta(E)), {}, B * T * E),
        ("bi_wkv_backward", (X, X, X, meta(E), meta(E)), {}, B * T * E),
        ("bi_wkv_matrix", (HEADS, HEADS, HEADS, meta(H, D), meta(H, D)), {}, 0),
        ("bi_wkv_matrix_backward", (HEADS,) * 4, {}, 0),
    ],
)
def test_exponentials_are_those_that_the_operator_registered(name, args, options, count):
    operator = getattr(operators_of_the_zoo(), name).default
    assert special_functions(operator, args, options) == count


def test_attention_takes_one_exponential_a_score():
    q, k = meta(2, 3, 50, 8), meta(2, 3, 70, 8)
    forward = aten._scaled_dot_product_flash_attention.default
    assert special_functions(forward, (q, k, k), {}) == 2 * 3 * 50 * 70
    assert special_functions(aten.mm.default, (q, k), {}) == 0


def test_a_type_without_units_is_refused_not_guessed():
    a = meta(64, 64, dtype=torch.bfloat16)
    with pytest.raises(NoPeakError, match="Tesla T4 has no matrix units for bf16"):
        Roofline(gpu=named("Tesla T4"), allow_tf32=False).seconds(
            aten.mm.default, (a, a), flops=1, moved_bytes=1
        )
