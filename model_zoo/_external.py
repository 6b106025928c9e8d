"""Models that are not the zoo's: a library's, or the user's own.

Each is resolved to a function of `Options` that carries a `ModelEntry`, as the zoo's own variants
are.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from torch import nn

from model_zoo._errors import UnknownModelError
from model_zoo._libraries import LIBRARIES, Build, described
from model_zoo._registry import ModelEntry, Options


def resolve(name: str) -> Build:
    """The function that builds ``library:model`` or ``package.module:callable``.

    Raises:
        UnknownModelError: There is no such model, module or callable.
        MissingLibraryError: The library is not installed.
    """
    prefix, _, rest = name.partition(":")
    if prefix in LIBRARIES:
        return LIBRARIES[prefix].resolve(rest)
    try:
        found: Any = importlib.import_module(prefix)
        for attribute in rest.split("."):
            found = getattr(found, attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not prefix.startswith(str(error.name)):
            raise  # the user's module is there, what it imports is not
        raise UnknownModelError(
            f"nothing to build at {name}: {error}",
            hint=f"wanted package.module:callable, with its folder on PYTHONPATH, "
            f"or one of {', '.join(f'{library}:NAME' for library in LIBRARIES)}",
        ) from error
    return from_callable(found, name)


def names(library: str) -> list[str]:
    """Every model of a library, as ``library:model``; none of a library that is not known."""
    if library not in LIBRARIES:
        return []
    return sorted(f"{library}:{name}" for name in LIBRARIES[library].names())


def from_callable(found: Any, name: str) -> Build:
    """The user's own function or class, called with those of `Options` that it has parameters for.

    One that `register_model` decorates, or whose only required parameter is ``options``, is given
    the `Options` itself. Defaults of the parameters become the model's default input.

    Raises:
        UnknownModelError: It cannot be called, or has other required parameters.
    """
    if not callable(found):
        raise UnknownModelError(f"{name} is no callable but a {type(found).__name__}")
    entry = getattr(found, "model_entry", None)
    if isinstance(entry, ModelEntry):
        return described(lambda options: _built(found(options), name), replace(entry, name=name))
    parameters = _fillable(found, name)

    def build(options: Options) -> nn.Module:
        if "options" in parameters:
            return _built(found(options), name)
        return _built(found(**{key: getattr(options, key) for key in parameters}), name)

    stated = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    module = getattr(found, "__module__", name.partition(":")[0])
    given: dict[str, Any] = {
        "num_frames": 8,
        "height_px": 224,
        "width_px": 224,
        "num_classes": 400,
    } | stated
    return described(
        build,
        ModelEntry(
            name=name,
            family=module,
            title=getattr(found, "__name__", name),
            summary=(inspect.getdoc(found) or "").partition("\n")[0],
            paper="none",
            repository="none",
            licence="not stated",
            clip=(given["num_frames"], given["height_px"], given["width_px"]),
            num_classes=given["num_classes"],
            label_space="its own",
            module=module,
            has_attention="attention" in parameters or "options" in parameters,
        ),
    )


def _fillable(found: Callable[..., Any], name: str) -> Mapping[str, inspect.Parameter]:
    """The parameters of `found` that are fields of `Options`, or ``options`` alone."""
    try:
        parameters = inspect.signature(found).parameters
    except ValueError as error:
        raise UnknownModelError(f"{name} does not say what it takes: {error}") from error
    known = {field.name for field in fields(Options)}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = {
        key for key, p in parameters.items() if p.default is p.empty and p.kind not in kinds
    }
    if required == {"options"}:
        return {"options": parameters["options"]}
    if required - known:
        raise UnknownModelError(
            f"{name} has parameters without a default that vbench cannot fill: "
            f"{', '.join(sorted(required - known))}",
            hint=f"it may take `options`, or any of {', '.join(sorted(known))}",
        )
    return {key: p for key, p in parameters.items() if key in known}


def _built(model: object, name: str) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    raise UnknownModelError(f"{name} must give a torch.nn.Module, not a {type(model).__name__}")
