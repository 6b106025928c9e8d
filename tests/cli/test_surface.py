"""The options are an interface: a change to them shows in this golden file's diff.

Rewrite it with: python tests/cli/test_surface.py
"""

from pathlib import Path

import pytest
import typer

from vbench.cli.app import app

GOLDEN = Path(__file__).parents[1] / "golden" / "cli_options.txt"


def surface() -> list[str]:
    group = typer.main.get_group(app)
    return [
        f"{name} {' '.join(sorted(parameter.opts + parameter.secondary_opts))}"
        for name, command in sorted(group.commands.items())
        for parameter in command.params
    ]


def test_commands_and_options_match_the_golden_file():
    assert surface() == GOLDEN.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", sorted(typer.main.get_group(app).commands))
def test_every_command_explains_itself_with_an_example(name):
    text = typer.main.get_group(app).commands[name].help or ""
    assert f"Example: vbench {name}" in text


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(surface()) + "\n", encoding="utf-8")
