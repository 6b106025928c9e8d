"""Start-up cost is a feature, so it is tested: by what is imported, not by the clock."""

import subprocess
import sys

import pytest

from tests.cli.run import ROOT


@pytest.mark.parametrize("command", ["--help", "models", "show videomamba_tiny"])
def test_light_commands_import_nothing_heavy(command):
    heavy = ["torch", "pandas", "matplotlib", "numpy", "fvcore", "thop", "triton", "pydantic"]
    code = (
        "import sys\n"
        "import vbench.cli.app as cli\n"
        f"sys.argv = ['vbench', *{command.split()!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"sys.exit([name for name in {heavy!r} if name in sys.modules] or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
