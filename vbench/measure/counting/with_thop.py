"""Count with thop (0.1.1), its rules untouched: they go by the exact type of a module.

So thop sees nothing of a function that is called without a module, nor of a subclass.
"""

import copy
import functools
import warnings
from collections import Counter
from typing import Any

from torch import Tensor, nn

from vbench.measure.counting.report import OtherCount


def count_with_thop(model: nn.Module, clips: Tensor) -> OtherCount:
    """Operations of a forward pass in eval mode by type of module; `model` is left as it is.

    Raises:
        One of `COUNTER_FAILURES`: the model fails under thop's hooks.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # distutils.version
        import thop
    hooked = copy.deepcopy(model)  # a failing count leaves buffers and hooks behind
    names = list(model.state_dict())
    total, _, tree = thop.profile(hooked, (clips,), verbose=False, ret_layer_info=True)
    assert list(model.state_dict()) == names
    by_type: Counter[str] = Counter()
    _add_ruled(hooked, tree, by_type)
    by_type[type(model).__name__] += int(total) - sum(by_type.values())
    return OtherCount(
        library="thop",
        by_operator={name: float(macs) for name, macs in by_type.most_common() if macs},
        missed=dict(_without_rule(model).most_common()),
        counts_modules=True,
        known_types=frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in rules()),
        subclasses=frozenset(
            type(module).__name__ for module in model.modules() if _derives_from_ruled(module)
        ),
    )


@functools.cache
def rules() -> frozenset[type[nn.Module]]:
    """Types of module that thop has a rule for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from thop.profile import register_hooks
    return frozenset(register_hooks)


def _add_ruled(module: nn.Module, tree: dict[str, Any], by_type: "Counter[str]") -> None:
    """Add what thop found below `module`, in the (operations, parameters, children) it returns."""
    for name, (operations, _, children) in tree.items():
        child = module.get_submodule(name)
        if children:
            _add_ruled(child, children, by_type)
        else:
            by_type[type(child).__name__] += int(operations)


def _derives_from_ruled(module: nn.Module) -> bool:
    return type(module) not in rules() and isinstance(module, tuple(rules()))


def _without_rule(model: nn.Module) -> "Counter[str]":
    """Modules that hold parameters of their own and have no rule, by type."""
    known = rules()
    return Counter(
        type(module).__name__
        for module in model.modules()
        if type(module) not in known and next(module.parameters(recurse=False), None) is not None
    )
