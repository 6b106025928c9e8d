"""The options are an interface: a change to them shows in this golden file's diff.

Rewrite it with: python tests/cli/test_surface.py
"""

from pathlib import Path
from typing import Any

import pytest
import typer

from vbench.cli.app import app

GOLDEN = Path(__file__).parents[1] / "golden" / "cli_options.txt"


def commands(group=None, prefix=""):
    """Every command by the words that call it, those of groups among them."""
    group = group or typer.main.get_group(app)
    found: dict[str, Any] = {}
    for name, command in sorted(group.commands.items()):
        inner = getattr(command, "commands", None)
        found |= commands(command, f"{name} ") if inner else {f"{prefix}{name}": command}
    return found


def surface() -> list[str]:
    return [
        f"{name} {' '.join(sorted(parameter.opts + parameter.secondary_opts))}"
        for name, command in commands().items()
        for parameter in command.params
    ]


def test_commands_and_options_match_the_golden_file():
    assert surface() == GOLDEN.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_explains_itself_with_an_example(name):
    text = commands()[name].help or ""
    assert f"Example: vbench {name}" in text


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(surface()) + "\n", encoding="utf-8")
