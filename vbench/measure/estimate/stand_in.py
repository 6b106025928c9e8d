"""What ``torch.autocast("cuda")`` does, for tensors that are on no device.

Autocast is not there for the meta device, so its kernels are stood in for, at the same place: above
autograd, before an operator is taken apart, under a dispatch key that torch keeps for backends
outside of its tree and that nothing else here uses. Fused attention is put in at this place too,
see `attention`. Casts are real operators on meta tensors, so their memory and traffic show.

Source: torch 2.13, ``aten/src/ATen/autocast_mode.h`` and ``autocast_mode.cpp``.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload

from vbench.measure.estimate.attention import AttentionKernels
from vbench.measure.estimate.autocast_lists import (
    FP32,
    FP32_NORM,
    FP32_RESULT,
    LOWER_PRECISION,
    REFUSED,
    WIDEST,
)
from vbench.measure.estimate.ledger import Ledger

_KEY: Final = torch._C.DispatchKey.AutocastPrivateUse1  # type: ignore[attr-defined]
_ATTENTION: Final = "scaled_dot_product_attention"
_FUSED_SOFTMAX: Final = {
    "softmax.int": torch.ops.aten._softmax.default,
    "log_softmax.int": torch.ops.aten._log_softmax.default,
}


class CudaStandIn:
    """What happens above autograd on CUDA and not on meta: fused attention, and autocast.

    Args:
        autocast_dtype: Lower precision of autocast, None where it is off.
        ledger: Is told which memory holds copies of weights, which autocast keeps until its end.
    """

    def __init__(self, autocast_dtype: torch.dtype | None, ledger: Ledger) -> None:
        self.attention = AttentionKernels()
        self._dtype = autocast_dtype
        self._ledger = ledger
        self._copies: dict[int, Tensor] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Stand in for CUDA until the context ends. Autocast counts as left when backward begins.

        A step leaves autocast between forward and backward; as torch does, weight copies go then,
        unless autograd has kept them.
        """
        global _active
        _install()
        assert _active is None
        _active = self
        excluded, included = _tls_states()
        _set_tls(excluded=False, included=True)
        try:
            yield
        finally:
            _set_tls(excluded=excluded, included=included)
            _active = None
            self._copies.clear()

    def run(self, name: str, operator: OpOverload, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Run `operator`, called `name` in the lists, as CUDA would."""
        if torch._C._current_graph_task_id() != -1:
            self._copies.clear()
        elif self._dtype is not None:
            operator, args, kwargs = self._autocast(self._dtype, name, operator, args, kwargs)
        if name == _ATTENTION:
            return self.attention.run(*args, **kwargs)
        return operator(*args, **kwargs)

    def _autocast(
        self,
        lower: torch.dtype,
        name: str,
        operator: OpOverload,
        args: tuple[Any, ...],
        kwargs: Any,
    ) -> tuple[OpOverload, tuple[Any, ...], Any]:
        if name in FP32_RESULT:
            return _with_fp32_result(name, operator, args, kwargs)
        if name in FP32_NORM:
            wide = getattr(operator._overloadpacket, FP32_NORM[name])
            return wide, args, kwargs | {"dtype": torch.float32}
        if name in LOWER_PRECISION:
            dtype = lower
        elif name in FP32:
            dtype = torch.float32
        elif name in WIDEST:
            dtypes = {x.dtype for x in _floating((args, kwargs))}
            dtype = torch.float32 if torch.float32 in dtypes else lower
        else:
            raise RuntimeError(f"autocast refuses operator: {name}")
        return operator, *self._cast((args, kwargs), dtype)

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, Tensor):
            return self._cast_tensor(value, dtype)
        if isinstance(value, list | tuple):
            return type(value)(self._cast(item, dtype) for item in value)
        if isinstance(value, dict):
            return {key: self._cast(item, dtype) for key, item in value.items()}
        return value

    def _cast_tensor(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        if not _is_eligible(x) or x.dtype == dtype:
            return x
        is_weight = x.dtype == torch.float32 and x.requires_grad and x.is_leaf and not x._is_view()
        if not is_weight or dtype != self._dtype:
            return x.to(dtype)
        copy = self._copies.get(id(x))
        if copy is None:
            with self._ledger.allocating("weights"):
                copy = self._copies[id(x)] = x.to(dtype)
        return copy


def _with_fp32_result(
    name: str, operator: OpOverload, args: tuple[Any, ...], kwargs: Any
) -> tuple[OpOverload, tuple[Any, ...], Any]:
    x = args[0]
    names = [argument.name for argument in operator._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    if not _is_eligible(x) or given.get("dtype") is not None:
        return operator, args, kwargs
    if x.dtype == torch.float16 and name in _FUSED_SOFTMAX:  # one kernel reads halves, writes fp32
        return _FUSED_SOFTMAX[name], (x, given["dim"], True), {}
    del given["self"]
    return operator, (x,), given | {"dtype": torch.float32}


def _floating(value: Any) -> Iterator[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(value)
    return (x for x in leaves if isinstance(x, Tensor) and _is_eligible(x))


def _is_eligible(x: Tensor) -> bool:
    return x.is_floating_point() and x.dtype != torch.float64 and x.device.type == "meta"


_active: CudaStandIn | None = None


@functools.cache
def _install() -> tuple[torch.library.Library, ...]:
    """Register what runs under `_KEY`, once; without effect while the key is off, as it begins."""
    others = torch.library.Library("_", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, _KEY.name)
    library = torch.library.Library("aten", "IMPL")
    lists = (LOWER_PRECISION, FP32, FP32_RESULT, frozenset(FP32_NORM), WIDEST, REFUSED)
    for name in sorted(frozenset[str]().union(*lists)):
        library.impl(name, _kernel(name), _KEY.name)
    return others, library


def _kernel(name: str) -> Callable[..., Any]:
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def run(*args: Any, **kwargs: Any) -> Any:
        assert _active is not None
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(_KEY)):
            return _active.run(name, operator, args, kwargs)

    return run


def _tls_states() -> tuple[bool, bool]:
    return (
        torch._C._dispatch_tls_is_dispatch_key_excluded(_KEY),
        torch._C._dispatch_tls_is_dispatch_key_included(_KEY),
    )


def _set_tls(*, excluded: bool, included: bool) -> None:
    torch._C._dispatch_tls_set_dispatch_key_excluded(_KEY, excluded)
    torch._C._dispatch_tls_set_dispatch_key_included(_KEY, included)
