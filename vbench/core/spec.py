"""Specs from TOML, strictly: an unknown key or a wrong value names its path."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from vbench.core.errors import UsageError
from vbench.core.types import BenchSpec


def builtin_specs() -> dict[str, str]:
    """Text of every spec that ships with the package, by name."""
    folder = resources.files("vbench") / "specs"
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def load(source: str | Path) -> dict[str, Any]:
    """The table of a spec file, or of the built-in spec of that name.

    Raises:
        UsageError: There is neither, or the file is not TOML.
    """
    path = Path(source)
    builtin = builtin_specs()
    if path.is_file():
        text = _read(path)
    elif str(source) in builtin:
        text = builtin[str(source)]
    else:
        raise UsageError(
            f"no such spec: {source}",
            hint=f"name a TOML file or a built-in spec: {', '.join(builtin)}",
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the spec {path}: {error}") from None


def parse(table: dict[str, Any], *, source: str) -> BenchSpec:
    """Turn a table into a spec.

    Raises:
        UsageError: A key is unknown or missing, or a value is out of range; says where.
    """
    try:
        return msgspec.convert(table, BenchSpec)
    except msgspec.ValidationError as error:
        message = str(error).replace("Object contains unknown field", "unknown key")
        raise UsageError(f"{source}: {message}", hint=_keys_hint(message)) from None


def _keys_hint(message: str) -> str | None:
    if "unknown key" not in message or "$." in message:
        return None
    return f"known: {', '.join(BenchSpec.__struct_fields__)}"
