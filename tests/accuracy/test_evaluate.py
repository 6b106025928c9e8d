"""Whole evaluations of generated videos, undisturbed, interrupted and killed."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.accuracy.films import write_video
from tests.cli.run import vbench
from vbench.accuracy.evaluate import opened, read_videos
from vbench.accuracy.evaluation import VIDEOS_FILE
from vbench.accuracy.planning import Asked, plan
from vbench.accuracy.subsets import SubsetSpec
from vbench.accuracy.summary import summarise
from vbench.core.errors import UsageError, VbenchError

LEVELS = {"a dark": 20, "b middling": 120, "c bright": 230}
PER_CLASS = 5


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Three classes by brightness; one video of the wrong class, one that cannot be read."""
    root = tmp_path_factory.mktemp("films")
    for name, level in LEVELS.items():
        (root / name).mkdir()
        for index in range(PER_CLASS):
            shade = 230 if (name, index) == ("a dark", 0) else level
            frame = np.full((48, 80, 3), shade, dtype=np.uint8)
            write_video(root / name / f"{index}.mp4", 10 + index, pictures=[frame] * 20)
    (root / "c bright" / "0.mp4").write_bytes(b"damaged")
    return root


def asked(films, **changes):
    settings: dict[str, Any] = {
        "model": "tests.accuracy.tiny:bright", "dataset": "folder", "root": films,
        "device": "cpu", "checkpoint": None, "num_frames": 4, "size_px": 32,
    } | changes  # fmt: skip
    return Asked(**settings)


def without_times(records):
    return [msgspec.structs.replace(r, decode_s=None, wait_s=None, model_s=None) for r in records]


def evaluated(planned, run_dir):
    with opened(planned, run_dir) as evaluation:
        list(evaluation.run(num_workers=2))
        return evaluation.records


@pytest.fixture(scope="module")
def undisturbed(films, tmp_path_factory):
    planned = plan(asked(films))
    return planned, evaluated(planned, tmp_path_factory.mktemp("undisturbed"))


def test_an_evaluation_counts_what_is_right_wrong_and_unreadable(undisturbed):
    planned, records = undisturbed
    summary = summarise(planned.spec, records)
    assert (summary.num_videos, summary.num_decoded, summary.num_failed) == (15, 14, 1)
    assert summary.failures[0][0] == "c bright/0.mp4"
    found = {(score.metric, score.videos): score.value for score in summary.scores}
    assert found["top1", "decoded"] == pytest.approx(13 / 14)
    assert found["top1", "failures as errors"] == pytest.approx(13 / 15)
    assert found["mean_class", "decoded"] == pytest.approx((4 / 5 + 1 + 1) / 3)
    assert summary.times is not None
    assert summary.times.decode_s > 0
    assert any("custom protocol" in warning for warning in summary.warnings)
    assert summary.published == ()


def test_damaged_videos_are_scored_counted_and_named(undisturbed):
    planned, records = undisturbed
    damaged = [msgspec.structs.replace(r, damage="10 of 12 frames") for r in records[:2]]
    summary = summarise(planned.spec, [*damaged, *records[2:]])
    assert summary.num_damaged == 2
    assert dict(summary.damaged) == {record.key: "10 of 12 frames" for record in damaged}
    assert any("2 videos were read and scored but are damaged" in w for w in summary.warnings)
    assert summarise(planned.spec, records).num_damaged == 0
    assert summary.scores == summarise(planned.spec, records).scores


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_and_ends_the_same(films, undisturbed, tmp_path):
    planned, expected = undisturbed
    with opened(planned, tmp_path) as evaluation:
        running = evaluation.run(num_workers=1)
        next(running)
        running.close()
        kept = len(evaluation.records)
    with (tmp_path / VIDEOS_FILE).open("ab") as file:
        file.write(b'{"schema_version":1,"key":"torn')
    assert 0 < kept < 15
    assert without_times(evaluated(planned, tmp_path)) == without_times(expected)
    assert len(read_videos(tmp_path)[0]) == 15


def test_a_folder_of_another_evaluation_is_refused(films, undisturbed, tmp_path):
    planned, _ = undisturbed
    with (
        opened(planned, tmp_path),
        pytest.raises(UsageError, match="another evaluation is writing"),
        opened(planned, tmp_path),
    ):
        pass
    other = plan(asked(films, num_frames=2))
    with pytest.raises(UsageError, match="holds another evaluation"), opened(other, tmp_path):
        pass


def test_a_worker_that_is_killed_is_one_error_that_names_the_log(films, tmp_path):
    planned = plan(asked(films, model="tests.accuracy.tiny:killed"))
    with (
        opened(planned, tmp_path) as evaluation,
        pytest.raises(VbenchError, match="ended with -9") as caught,
    ):
        list(evaluation.run(num_workers=1))
    assert "log.txt" in (caught.value.hint or "")


def test_the_plan_names_what_may_move_the_result(films):
    first, again = (plan(asked(films)).spec for _ in range(2))
    assert first.eval_id == again.eval_id
    for changes in ({"num_frames": 8}, {"precision": "bf16"}, {"subset": SubsetSpec(count="6")}):
        assert plan(asked(films, **changes)).spec.eval_id != first.eval_id


def test_only_a_drawn_subset_speaks_for_its_list(films, tmp_path):
    drawn = plan(asked(films, subset=SubsetSpec(count="9"))).spec
    assert drawn.num_listed_by_class == (PER_CLASS,) * 3
    assert drawn.is_random_subset
    named = plan(asked(films, subset=SubsetSpec(keys=("a dark/1.mp4",)))).spec
    assert (named.num_listed_by_class, named.is_random_subset) == ((), False)
    assert not plan(asked(films)).spec.is_random_subset


def test_a_subset_of_videos_that_are_there_counts_the_others(films):
    listed = films / "labels.csv"
    rows = [f"{name}/{index}.mp4,{name}" for name in LEVELS for index in range(PER_CLASS)]
    rows += [f"gone{index}.mp4,{name}" for index, name in enumerate(LEVELS)]
    listed.write_text("path,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    try:
        planned = plan(asked(films))
        assert (len(planned.videos), planned.spec.num_absent, planned.spec.num_listed) == (
            15,
            3,
            18,
        )
        nine = asked(films, subset=SubsetSpec(count="15"), replace_missing=True)
        assert len(plan(nine).videos) == 15
    finally:
        listed.unlink()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "no_such_model"}, "unknown model"),
        ({"dataset": "no_such_dataset"}, "unknown dataset"),
        ({"protocol": "no_such_protocol"}, "unknown protocol"),
        ({"label_space": "kinetics600"}, "are those of kinetics600, not of folder"),
    ],
)
def test_what_cannot_be_planned_is_said(films, changes, message):
    with pytest.raises(UsageError, match=message):
        plan(asked(films, **changes))


def command(films, run_dir, *more):
    return [
        "eval", "tests.accuracy.tiny:bright", "--dataset", "folder", "--root", str(films),
        "--random-weights", "--frames", "4", "--resolution", "32", "--device", "cpu",
        "--no-cost", "--workers", "1", "--out", str(run_dir), *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_the_command_prints_a_table_with_intervals_and_warnings(films, tmp_path):
    done = vbench(*command(films, tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    header, first, *_ = [line.split("\t") for line in done.stdout.splitlines()]
    columns = ["head", "metric", "videos", "clips", "n", "measured", "95 % interval"]
    assert header[:7] == columns
    assert first[:6] == ["class", "top1", "decoded", "as is", "14", "92.86 %"]
    assert "warning: custom protocol" in done.stderr
    assert "unreadable: c bright/0.mp4" in done.stderr
    again = vbench(*command(films, tmp_path / "run", "--json"))
    assert "15 of them done before" in again.stderr
    document = json.loads(again.stdout)
    assert document["summary"]["num_failed"] == 1
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8")) == document["summary"]


def test_the_plan_says_how_sure_the_result_would_be(films, tmp_path):
    done = vbench(*command(films, tmp_path / "run", "--subset", "9", "--dry-run"))
    facts = dict(line.split("\t") for line in done.stdout.splitlines())
    assert facts["videos"] == "9"
    assert float(facts["half-width at 80 %, points"]) > 20
    # 2.8 * sqrt(0.1 / 9): what nine videos, on a tenth of which two models differ, can tell.
    assert float(facts["difference of two models found, points"]) == pytest.approx(29.53, abs=0.01)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dataset", "folder", "--root", "."], 2, "an accuracy needs trained weights"),
        (["--dataset", "ssv3", "--root", ".", "--random-weights"], 2, "unknown dataset: ssv3"),
        (["--dataset", "ssv2", "--root", "nowhere", "--random-weights"], 2, "no such folder"),
        (["--dataset", "ssv2", "--root", ".", "--checkpoint", "no.pth"], 2, "no annotations"),
        (
            ["--dataset", "folder", "--root", ".", "--random-weights", "--precision", "fp8"],
            2,
            "fp8",
        ),
    ],
)
def test_a_wrong_request_is_one_clear_error(arguments, code, message):
    done = vbench("eval", "videomamba_tiny", "--device", "cpu", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_copy_is_checked(films):
    done = vbench("data", "check", "folder", "--root", films, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert not found["is_whole"]
    assert list(found["checkup"]["unreadable"]) == ["c bright/0.mp4"]
    assert found["checkup"]["num_decoded"] == 15
    assert "1 of 15 cannot be read" in done.stderr


def test_datasets_are_listed_with_what_they_expect():
    lines = vbench("data", "list").stdout.splitlines()
    assert any(line.startswith("jester\t") for line in lines)
