"""Two evaluations compared on the videos that both have read."""

import json
from typing import Any

import msgspec
import pytest

from tests.accuracy.fabricate import action, failure, video
from tests.cli.run import vbench
from vbench.accuracy import protocols
from vbench.accuracy.compare import compare_runs
from vbench.accuracy.evaluation import EVALUATION_FILE, VIDEOS_FILE, EvalSpec
from vbench.core import store
from vbench.core.errors import UsageError


def run(folder, records, **changes):
    settings: dict[str, Any] = {
        "model": "some_model", "dataset": "folder", "split": "val", "list_sha256": "a" * 64,
        "subset": "all", "subset_sha256": "b" * 64, "num_listed": len(records), "num_absent": 0,
        "heads": {"class": 2}, "columns": {"class": (0, 1)}, "num_outputs": {"class": 2},
        "label_space": "its own", "protocol": protocols.custom(num_frames=4, size_px=32),
        "checkpoint": None, "checkpoint_sha256": None, "precision": "fp32", "attention": "sdpa",
        "device": "cpu", "batch_views": 4,
    } | changes  # fmt: skip
    with store.RunWriter(folder, file=VIDEOS_FILE) as writer:
        writer.append(*records)
    spec = EvalSpec(**settings)
    store.write_text(folder / EVALUATION_FILE, msgspec.json.encode(spec).decode())
    return folder


def answers(num_right, num_videos=200, offset=0):
    return [
        video(f"v{i}", 0, 0 if offset <= i < offset + num_right else 1) for i in range(num_videos)
    ]


def test_a_worse_second_is_a_regression_and_a_better_one_is_not(tmp_path):
    good, bad = run(tmp_path / "a", answers(160)), run(tmp_path / "b", answers(130))
    (head,) = compare_runs(good, bad).heads
    assert (head.first, head.second) == (0.8, 0.65)
    assert (head.paired.only_first, head.paired.only_second) == (30, 0)
    assert head.is_regression
    assert not compare_runs(bad, good).is_regression
    assert not compare_runs(good, good).is_regression


def test_a_difference_within_chance_is_no_regression(tmp_path):
    first = run(tmp_path / "a", answers(100))
    second = run(tmp_path / "b", answers(99, offset=10))
    assert not compare_runs(first, second).is_regression


def test_only_videos_that_both_read_are_compared(tmp_path):
    first = run(tmp_path / "a", [*answers(3, 5), failure("v5", 0), video("v6", 0, 0)])
    second = run(tmp_path / "b", [*answers(3, 5), video("v5", 0, 0), failure("v6", 0)])
    found = compare_runs(first, second)
    assert (found.num_common, found.num_only_one) == (5, 2)


def test_segments_of_one_video_are_one_draw(tmp_path):
    def segments(num_wrong):
        return [action(f"s{i}", 0, 0, int(i < num_wrong), 0, group=str(i // 30)) for i in range(60)]

    first, second = run(tmp_path / "a", segments(0)), run(tmp_path / "b", segments(20))
    heads = {head.head: head for head in compare_runs(first, second).heads}
    assert list(heads) == ["action", "noun", "verb"]
    assert heads["verb"].paired.p_value < 0.001  # as if 20 videos had changed
    assert not heads["verb"].is_regression  # but one did


def test_what_differs_beside_the_model_is_said(tmp_path):
    first = run(tmp_path / "a", answers(3, 5))
    second = run(tmp_path / "b", answers(3, 5), precision="bf16", subset_sha256="c" * 64)
    notes = compare_runs(first, second).notes
    assert any("precision differs: fp32; bf16" in note for note in notes)
    assert any(note.startswith("subset differs") for note in notes)


def test_what_cannot_be_compared_is_refused(tmp_path):
    first = run(tmp_path / "a", answers(3, 5))
    with pytest.raises(UsageError, match="no evaluation at"):
        compare_runs(first, tmp_path / "nothing")
    with pytest.raises(UsageError, match="are on folder and ssv2"):
        compare_runs(first, run(tmp_path / "b", answers(3, 5), dataset="ssv2"))
    with pytest.raises(UsageError, match="no video was read in both"):
        compare_runs(first, run(tmp_path / "c", [video("other", 0, 0)]))
    with pytest.raises(UsageError, match="v0 has the label"):
        compare_runs(first, run(tmp_path / "d", [video("v0", 1, 0)]))


def test_the_command_exits_with_four_on_a_regression(tmp_path):
    good, bad = run(tmp_path / "a", answers(160)), run(tmp_path / "b", answers(130))
    worse = vbench("compare", good, bad)
    assert worse.returncode == 4
    header, row = (line.split("\t") for line in worse.stdout.splitlines())
    assert dict(zip(header, row, strict=True))["points"] == "-15.00"
    assert "is worse than" in worse.stderr
    better = vbench("compare", bad, good, "--json")
    assert better.returncode == 0
    assert json.loads(better.stdout)["is_regression"] is False
