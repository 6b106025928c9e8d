"""The documents are tested: what the README shows is what the commands print."""

import re
import shlex
from pathlib import Path

import pytest
import typer

import vbench as package
from tests.cli.run import ROOT, vbench
from vbench.cli.app import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = [
    (command, expected)
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, flags=re.MULTILINE)
]


def cells(text: str) -> list[list[str]]:
    """A table's cells, whether columns are parted by tabs or aligned with spaces."""
    return [
        [cell for cell in re.split(r"\t|\s{2,}", line.strip()) if cell]
        for line in text.splitlines()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "expected"), EXAMPLES)
def test_a_readme_example_prints_what_it_shows(command, expected, tmp_path):
    program, *arguments = shlex.split(command)
    assert program == "vbench"
    done = vbench(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert cells(done.stdout) == cells(expected)


def test_every_command_is_in_the_readme():
    commands = typer.main.get_group(app).commands
    assert [name for name in commands if f"`vbench {name}`" not in README] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_link_to_a_file_leads_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+?)\)", text)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_files_named_in_contributing_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [
        path
        for path in re.findall(r"`((?:vbench|model_zoo|tests)/[\w./-]+)`", text)
        if "<" not in path
    ]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_version_is_the_newest_heading_of_the_changelog():
    headings = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r'^version = "(.+)"', pyproject, re.MULTILINE)
    assert declared is not None
    assert package.__version__ == headings[0] == declared[1]


def test_no_document_names_a_path_of_the_machine_it_was_written_on():
    home = str(Path.home())
    texts = {path: path.read_text("utf-8", errors="ignore") for path in ROOT.glob("*.md")}
    assert [path.name for path, text in texts.items() if home in text or "/work/" in text] == []
