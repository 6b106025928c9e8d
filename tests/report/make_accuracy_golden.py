"""Write the golden accuracy report again: ``python -m tests.report.make_accuracy_golden``."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from tests.report.evaluated import cost, evaluation, motion, protocol, score
from vbench.core.evaluations import PublishedPoint
from vbench.report import accuracy

FOLDER = Path(__file__).parent / "golden" / "accuracy"
VERSION = "1.2.3"
FILES = ("README.md", "tables/accuracy.csv", "tables/scores.csv")


def published(**changes):
    """VideoMamba-Ti as its paper prints it on SSv2."""
    settings: dict[str, Any] = {
        "model": "VideoMamba-Ti",
        "family": "VideoMamba",
        "dataset": "ssv2",
        "head": "",
        "top1": 0.651,
        "macs_per_video": 27e9,
        "num_frames": 8,
        "size_px": 224,
        "num_clips": 1,
        "num_crops": 3,
        "frame_stride": None,
        "source": "arXiv:2403.06977 Table 4",
    }
    return PublishedPoint(**settings | changes)


def evaluations(folder):
    """Two models on one published protocol, one of them also on motion; one failed to be timed."""
    return [
        evaluation(
            folder / "tiny",
            scores=[score(0.642, baseline=0.018), score(0.893, "top5")],
            published=[{"printed": "65.1 %", "source": "arXiv:2403.06977 Table 4"}],
            warnings=["1 videos could not be read; see failures"],
        ),
        evaluation(
            folder / "base",
            "timesformer_base",
            "TimeSformer",
            [score(0.589, baseline=0.018), score(0.861, "top5")],
            protocol=protocol("timesformer ssv2"),
            cost=cost(590e9, None, device_name=None, num_threads=None),
        ),
        motion(
            folder / "motion",
            warnings=["custom protocol: not comparable with published numbers"],
            cost=cost(5.2e9, 0.05, energy_per_video_j=2.5, energy_source="RAPL"),
        ),
    ]


def render(folder):
    """Render into ``report/`` of a folder, with relative paths and a fixed version."""
    with contextlib.chdir(folder), contextlib.ExitStack() as stack:
        for module in ("checks", "content", "document"):
            stack.enter_context(mock.patch(f"vbench.report.{module}.__version__", VERSION))
        stack.enter_context(mock.patch("tests.report.fabricate.__version__", VERSION))
        runs = evaluations(Path("results"))
        accuracy.render(runs, Path("report"), title="Accuracies", published=[published()])
    return folder / "report"


def main():
    """Replace the golden files."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report = render(Path(folder))
        for name in FILES:
            (FOLDER / Path(name).name).write_bytes((report / name).read_bytes())


if __name__ == "__main__":
    main()
