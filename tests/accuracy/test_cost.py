"""What a video costs: kept with its accuracy, in the summary and in words."""

import json

import numpy as np
import pytest

from tests.accuracy.films import write_video
from tests.cli.run import vbench
from tests.report.fabricate import record
from vbench.cli.eval_cost import notes
from vbench.core import evaluations
from vbench.core.errors import UsageError
from vbench.core.evaluations import cost_of_video


def test_a_video_costs_its_views_over_those_of_a_pass():
    latencies = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1]
    cost = cost_of_video(
        record(metrics={"macs": 8e9, "latency_s": latencies, "energy_j": [40.0] * 3}, batch_size=4),
        num_views=12,
    )
    assert cost.macs_per_video == 24e9
    assert cost.latency_per_video_s == pytest.approx(0.8 * 3)
    assert (cost.latency_per_video_low_s, cost.latency_per_video_high_s) == pytest.approx(
        (1.5, 3.3)
    )
    assert cost.energy_per_video_j == 120.0
    assert (cost.num_views, cost.batch_views) == (12, 4)


def test_what_was_not_measured_is_absent_and_not_said():
    cost = cost_of_video(record(metrics={"macs": 2e9}, device="meta"), num_views=1)
    assert cost.latency_per_video_s is None
    assert cost.energy_per_video_j is None
    assert cost.device_name is None
    assert notes(cost) == ["a video: 2.00 G MACs, counted"]


def test_the_energy_of_a_cpu_names_its_meter():
    taken = record(
        metrics={"cpu_energy_j": [3.0] * 3}, device="cpu", notes={"energy source": "RAPL"}
    )
    cost = cost_of_video(taken, num_views=2)
    assert cost.energy_per_video_j == 6.0
    assert notes(cost) == ["a video, 2 views: 6.00 J measured (RAPL)"]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    for name, level in {"a dark": 20, "b bright": 230}.items():
        (root / name).mkdir()
        frame = np.full((48, 80, 3), level, dtype=np.uint8)
        write_video(root / name / "0.mp4", 12, pictures=[frame] * 12)
    return root


@pytest.mark.slow
def test_on_a_cpu_time_and_operations_stand_in_the_summary_and_stay_when_resumed(films, tmp_path):
    run_dir = tmp_path / "run"
    arguments = [
        "eval", "tests.accuracy.tiny:tiny", "--dataset", "folder", "--root", str(films),
        "--random-weights", "--frames", "4", "--resolution", "32", "--device", "cpu",
        "--workers", "1", "--out", str(run_dir),
    ]  # fmt: skip
    done = vbench(*arguments)
    assert done.returncode == 0, done.stderr
    assert "measured on" in done.stderr
    found = evaluations.read_summary(run_dir)
    assert found.family == "tiny"
    assert found.evaluated_at_utc is not None
    cost = found.cost
    assert cost is not None
    assert cost.macs_per_video == 3 * 4 * 3  # one linear layer of 12 inputs and 3 outputs
    assert cost.latency_per_video_s is not None
    assert 0 < cost.latency_per_video_s < 1
    assert cost.device_name is not None
    before = json.loads((run_dir / "summary.json").read_text("utf-8"))
    assert vbench(*arguments).returncode == 0
    assert json.loads((run_dir / "summary.json").read_text("utf-8")) == before


def test_a_missing_or_a_foreign_summary_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no summary at"):
        evaluations.read_summary(tmp_path)
    (tmp_path / evaluations.SUMMARY_FILE).write_text('{"schema_version": 1}')
    with pytest.raises(UsageError, match="cannot read"):
        evaluations.read_summary(tmp_path)
