"""Write the golden report again: ``python -m tests.report.make_golden``, then read the diff."""

import contextlib
import tempfile
from pathlib import Path
from unittest import mock

from tests.report.fabricate import MIB, environment, record, write_run
from vbench.report import document

FOLDER = Path(__file__).parent / "golden"
VERSION = "1.2.3"
SPEC = """name = "golden"
title = "Two models, one of which does not fit"
models = ["wide", "deep"]
num_frames = [8, 16, 32]
"""
PLOTS = ("memory_by_frames", "macs_by_frames")


def records():
    """Three frame counts of two models on a GPU; the last one runs out of memory."""
    where = environment("NVIDIA A100-SXM4-80GB", vbench=VERSION)
    found = []
    for model, growth in (("wide", 1), ("deep", 2)):
        for t in (8, 16, 32):
            latency_s = 0.002 * t**growth
            measured = {
                "latency_s": [latency_s * (1 + 0.001 * i) for i in range(10)],
                "peak_allocated_bytes": 10 * MIB * t**growth,
                "params": 7_033_744,
                "macs": 1.25e9 * t,
            }
            fits = (model, t) != ("deep", 32)
            found.append(
                record(
                    model,
                    t,
                    measured if fits else {"params": 7_033_744, "macs": 1.25e9 * t},
                    attention="sdpa",
                    precision="bf16",
                    environment=where,
                    status="ok" if fits else "oom",
                    error=None if fits else "out of memory in warm-up: tried to allocate 9.00 GiB",
                    notes={"timing stopped": "interval narrow enough"} if fits else {},
                )
            )
    return found


def render(folder):
    """Render into ``report/`` of a folder, with relative paths and a fixed version."""
    with contextlib.chdir(folder), contextlib.ExitStack() as stack:
        for module in ("checks", "content", "document"):
            stack.enter_context(mock.patch(f"vbench.report.{module}.__version__", VERSION))
        write_run(Path("results/golden"), records(), spec=SPEC)
        document.render([Path("results/golden")], Path("report"), plots=PLOTS)
    return folder / "report"


def main():
    """Replace the golden files."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report = render(Path(folder))
        for name in ("README.md", "tables/main.csv"):
            (FOLDER / Path(name).name).write_bytes((report / name).read_bytes())


if __name__ == "__main__":
    main()
