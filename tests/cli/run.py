"""Run the command line as a user does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def vbench(
    *arguments: str | Path, cwd: Path | None = None, timeout_s: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run ``vbench`` with `arguments`, in `cwd` or the repository's root."""
    return subprocess.run(
        [sys.executable, "-m", "vbench", *map(str, arguments)],
        cwd=cwd or ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
