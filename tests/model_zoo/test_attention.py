"""The layers that most transformers of the zoo share: attention, perceptron, stochastic depth."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend
from torch.utils._python_dispatch import TorchDispatchMode

from model_zoo import ATTENTIONS
from model_zoo.layers.attention import SelfAttention, attend
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.mlp import Mlp


def inputs(*, requires_grad: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"q": (2, 3, 5, 8), "k": (2, 3, 7, 8), "v": (2, 3, 7, 8), "bias": (3, 5, 7)}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(
            requires_grad
        )
        for name, shape in shapes.items()
    }


def by_hand(q: Tensor, k: Tensor, v: Tensor, *, scale: float, bias: Tensor) -> Tensor:
    """One query at a time."""
    result = torch.empty(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for n in range(q.shape[2]):
                scores = (k[b, h] * q[b, h, n]).sum(-1) * scale + bias[h, n]
                weights = scores.exp() / scores.exp().sum()
                result[b, h, n] = (weights[:, None] * v[b, h]).sum(0)
    return result


@pytest.mark.parametrize("backend", ["eager", "sdpa", "math"])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("has_bias", [False, True])
def test_every_backend_computes_softmax_attention(backend, scale, has_bias):
    x = inputs()
    bias = x.pop("bias")
    expected = by_hand(
        x["q"],
        x["k"],
        x["v"],
        scale=8**-0.5 if scale is None else scale,
        bias=bias if has_bias else bias * 0,
    )
    result = attend(**x, backend=backend, scale=scale, bias=bias if has_bias else None)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_gradients_are_those_of_finite_differences(backend):
    x = inputs(requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda q, k, v, bias: attend(q, k, v, backend=backend, bias=bias), tuple(x.values())
    )


class ScoreMatrices(TorchDispatchMode):
    """Counts results of the scores' shape (..., 5, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.shape[-2:] == (5, 7):
            self.count += func not in (torch.ops.aten.view.default, torch.ops.aten.expand.default)
        return result


def test_eager_materialises_the_scores_and_the_fused_kernel_does_not():
    q, k, v, _ = (value.float() for value in inputs().values())
    counts = {}
    for backend in ("eager", "sdpa", "flash"):
        with ScoreMatrices() as matrices:
            attend(q, k, v, backend=backend)
        counts[backend] = matrices.count
    assert counts["eager"] >= 3  # product, scaled, softmax
    assert counts["flash"] == 0


def test_each_forced_backend_reaches_torch(monkeypatch):
    chosen = []

    def record(backend: SDPBackend) -> nullcontext[None]:
        chosen.append(backend.name)
        return nullcontext()

    monkeypatch.setattr("model_zoo.layers.attention.sdpa_kernel", record)
    q, k, v, _ = inputs().values()
    for backend in ATTENTIONS:
        attend(q, k, v, backend=backend)
    assert chosen == ["FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH"]


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_self_attention_is_that_of_torch(qkv_bias):
    torch.manual_seed(0)
    ours = SelfAttention(12, 3, qkv_bias=qkv_bias, attention="eager").double()
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    theirs.in_proj_weight.data = ours.qkv.weight.data
    theirs.in_proj_bias.data = ours.qkv.bias.data if qkv_bias else torch.zeros(36).double()
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0], rtol=0, atol=1e-12)


def test_the_perceptron_uses_the_exact_gelu():
    torch.manual_seed(0)
    mlp = Mlp(4, 8).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    hidden = F.linear(x, mlp.fc1.weight, mlp.fc1.bias)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    expected = F.linear(hidden, mlp.fc2.weight, mlp.fc2.bias)
    torch.testing.assert_close(mlp(x), expected, rtol=0, atol=1e-12)


def test_dropped_paths_zero_whole_samples_and_keep_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    x = torch.ones(4000, 2, 3)
    y = drop(x)
    kept = y[:, 0, 0] != 0
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (y == y[:, :1, :1]).all()
    assert abs(kept.float().mean().item() - 0.75) < 0.03


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero():
    x = torch.randn(3, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_rates_rise_linearly_and_one_block_has_none():
    assert drop_path_rates(0.2, 5) == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert drop_path_rates(0.2, 1) == [0.0]
