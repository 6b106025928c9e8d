"""Two sweeps compared case by case: what is a regression, and what is only noise."""

import json

import numpy as np
import pytest

from tests.cli.run import vbench
from tests.report.fabricate import MIB, environment, record, write_run
from vbench.core.errors import UsageError
from vbench.core.metrics import Metric
from vbench.report.regressions import compare_sweeps

METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="latency_s", kind="measured", better="lower", describe=""),
        Metric(name="cold_start_s", kind="measured", better="lower", describe=""),
        Metric(name="energy_j", kind="measured", better="lower", describe=""),
        Metric(
            name="peak_allocated_bytes",
            kind="measured",
            better="lower",
            describe="",
            is_repeatable=True,
        ),
        Metric(name="macs", kind="counted", better="lower", describe=""),
        Metric(name="fvcore_macs", kind="counted", better="neither", describe=""),
        Metric(name="estimated_latency_s", kind="estimated", better="lower", describe=""),
    )
}


def noisy(middle, *, seed, num=60, spread=0.05):
    return (middle * np.random.default_rng(seed).lognormal(sigma=spread, size=num)).tolist()


def compared(tmp_path, before, after, **options):
    first, second = write_run(tmp_path / "before", before), write_run(tmp_path / "after", after)
    return compare_sweeps(first, second, metrics=METRICS, **options)


def verdicts(found):
    return {change.metric: change.verdict for change in found.changes}


def test_a_slowdown_of_a_fifth_is_a_regression_of_latency_and_of_throughput(tmp_path):
    found = compared(
        tmp_path,
        [record(metrics={"latency_s": noisy(0.10, seed=1)})],
        [record(metrics={"latency_s": noisy(0.12, seed=2)})],
    )
    assert verdicts(found) == {"latency_s": "worse", "throughput_clips_per_s": "worse"}
    latency = next(change for change in found.changes if change.metric == "latency_s")
    assert latency.low < latency.ratio < latency.high
    assert latency.low > 1.1
    assert latency.high < 1.3
    assert len(found.regressions) == 2


def test_a_speedup_is_an_improvement_and_no_regression(tmp_path):
    found = compared(
        tmp_path,
        [record(metrics={"latency_s": noisy(0.12, seed=1)})],
        [record(metrics={"latency_s": noisy(0.10, seed=2)})],
    )
    assert set(verdicts(found).values()) == {"better"}
    assert not found.regressions


def test_noise_of_samples_and_of_processes_trips_it_in_fewer_than_one_of_forty(tmp_path):
    random = np.random.default_rng(0)

    def records():
        return [
            record(
                num_frames=t,
                repeat=repeat,
                metrics={
                    "latency_s": (
                        random.lognormal(sigma=0.04) * random.lognormal(sigma=0.1, size=30)
                    ).tolist()
                },
            )
            for t in range(1, 121)
            for repeat in range(3)
        ]

    found = compared(tmp_path, records(), records())
    latencies = [change for change in found.changes if change.metric == "latency_s"]
    assert len(latencies) == 120
    assert sum(change.verdict == "worse" for change in latencies) <= 3


def test_a_difference_below_the_threshold_is_equal_however_certain(tmp_path):
    before = [record(metrics={"latency_s": [0.100] * 50})]
    after = [record(metrics={"latency_s": [0.104] * 50})]
    assert not compared(tmp_path, before, after).regressions
    assert len(compared(tmp_path, before, after, threshold=0.03).regressions) == 2


def test_a_difference_beyond_the_threshold_but_within_the_interval_is_unsure(tmp_path):
    found = compared(
        tmp_path,
        [record(metrics={"latency_s": noisy(0.10, seed=1, num=8, spread=0.4)})],
        [record(metrics={"latency_s": noisy(0.13, seed=2, num=8, spread=0.4)})],
    )
    assert set(verdicts(found).values()) == {"unsure"}
    assert not found.regressions
    assert any(note.startswith("unsure: 2") for note in found.notes)


def test_processes_of_a_point_are_pooled_and_their_differences_widen_the_interval(tmp_path):
    def processes(middles):
        return [
            record(metrics={"latency_s": [middle] * 20}, repeat=i)
            for i, middle in enumerate(middles)
        ]

    found = compared(tmp_path, processes([0.1, 0.1, 0.1]), processes([0.1, 0.125, 0.11]))
    (latency, _) = found.changes
    assert latency.metric == "latency_s"
    assert (latency.num_before, latency.num_after) == (60, 60)
    assert latency.ratio == pytest.approx(1.1)
    assert latency.verdict == "unsure"
    steady = compared(tmp_path, processes([0.1, 0.1, 0.1]), processes([0.11, 0.111, 0.11]))
    assert set(verdicts(steady).values()) == {"worse"}


def test_one_sample_decides_only_where_the_metric_repeats_itself(tmp_path):
    found = compared(
        tmp_path,
        [record(metrics={"peak_allocated_bytes": 100 * MIB, "cold_start_s": 1.0})],
        [record(metrics={"peak_allocated_bytes": 110 * MIB, "cold_start_s": 3.0})],
    )
    assert verdicts(found) == {"peak_allocated_bytes": "worse", "cold_start_s": "unsure"}


def test_three_processes_of_one_sample_each_are_enough_to_judge(tmp_path):
    def processes(middle):
        return [record(metrics={"cold_start_s": middle + 0.01 * i}, repeat=i) for i in range(3)]

    assert verdicts(compared(tmp_path, processes(1.0), processes(1.5))) == {"cold_start_s": "worse"}


def test_a_count_that_differs_at_all_is_a_regression_in_either_direction(tmp_path):
    for after in (1_000_001, 999_999):
        found = compared(
            tmp_path,
            [record(metrics={"macs": 1_000_000, "fvcore_macs": 5})],
            [record(metrics={"macs": after, "fvcore_macs": 7})],
        )
        assert verdicts(found) == {"macs": "changed"}  # another tool's count is not judged
        assert len(found.regressions) == 1


def test_an_estimate_is_judged_by_the_threshold_alone(tmp_path):
    found = compared(
        tmp_path,
        [record(metrics={"estimated_latency_s": 1.0})],
        [record(metrics={"estimated_latency_s": 1.2})],
    )
    assert set(verdicts(found).values()) == {"worse"}


def test_a_case_that_no_longer_finishes_is_a_regression_and_the_reverse_is_not(tmp_path):
    good = [record(metrics={"macs": 1}), record(num_frames=16, status="oom", error="no room")]
    bad = [record(status="oom", error="no room"), record(num_frames=16, metrics={"macs": 1})]
    found = compared(tmp_path, good, bad)
    assert [(one.before, one.after, one.verdict) for one in found.endings] == [
        ("ok", "oom", "worse"),
        ("oom", "ok", "better"),
    ]
    (regression,) = found.regressions
    assert regression.error == "no room"


def test_one_process_of_several_that_crashes_is_a_regression(tmp_path):
    before = [record(metrics={"macs": 1}, repeat=i) for i in range(2)]
    after = [before[0], record(status="error", error="crashed", repeat=1)]
    assert [one.verdict for one in compared(tmp_path, before, after).endings] == ["worse"]


def test_cases_of_one_side_are_listed_and_not_judged(tmp_path):
    shared = record(metrics={"macs": 1})
    found = compared(tmp_path, [shared, record("old")], [shared, record("new")])
    assert [case.split()[0] for case in (*found.only_before, *found.only_after)] == ["old", "new"]
    assert found.num_common == 1
    assert not found.regressions


def test_timings_of_two_devices_are_refused_counts_and_memory_are_not(tmp_path):
    metrics = {"latency_s": [0.1] * 10, "energy_j": [5.0] * 10, "macs": 7}
    slower = {"latency_s": [0.2] * 10, "energy_j": [9.0] * 10, "macs": 7}
    before = [record(metrics=metrics | {"peak_allocated_bytes": MIB})]
    after = [
        record(metrics=slower | {"peak_allocated_bytes": MIB}, environment=environment("NVIDIA L4"))
    ]
    found = compared(tmp_path, before, after)
    assert verdicts(found) == {
        "latency_s": "refused",
        "throughput_clips_per_s": "refused",
        "energy_j": "refused",
        "peak_allocated_bytes": "equal",
        "macs": "equal",
    }
    assert not found.regressions
    assert any("--across-hardware" in note for note in found.notes)
    forced = compared(tmp_path, before, after, across_hardware=True)
    assert verdicts(forced)["latency_s"] == "worse"


def test_where_all_would_be_refused_the_request_is_wrong(tmp_path):
    before = [record(metrics={"latency_s": [0.1] * 10})]
    after = [record(metrics={"latency_s": [0.1] * 10}, environment=environment("NVIDIA L4"))]
    with pytest.raises(UsageError, match="different hardware"):
        compared(tmp_path, before, after)


def test_what_differs_in_the_environment_is_said(tmp_path):
    known = {"num_threads": 1, "load_average": 0.1}
    found = compared(
        tmp_path,
        [record(metrics={"macs": 1}, environment=environment(**known))],
        [
            record(
                metrics={"macs": 1},
                environment=environment(
                    torch="2.14.0", git_commit="ffff", num_threads=2, load_average=3.0
                ),
            )
        ],
    )
    assert "torch differs: 2.13.0; 2.14.0" in found.notes
    assert "git commit differs: 0123456789ab; ffff" in found.notes
    assert "CPU threads differs: 1; 2" in found.notes
    assert any(note.startswith("busy machine: load average up to 0.1") for note in found.notes)
    assert not any(note.startswith("Python") for note in found.notes)


def test_batches_found_automatically_are_compared_by_the_clip(tmp_path):
    def fitted(size):
        return record(
            metrics={"latency_s": [0.01 * size] * 10, "macs": 5 * size, "peak_allocated_bytes": 1},
            batch_size="auto",
        ), size

    records = []
    for one, size in (fitted(10), fitted(20)):
        fields = {name: getattr(one, name) for name in one.__struct_fields__}
        records.append(type(one)(**fields | {"batch_size": size}))
    found = compared(tmp_path, records[:1], records[1:])
    assert verdicts(found) == {"throughput_clips_per_s": "equal", "macs_per_clip": "equal"}
    assert any("the batch differs" in note and note.endswith("10; 20") for note in found.notes)


def test_a_metric_that_one_side_lacks_is_said(tmp_path):
    found = compared(
        tmp_path,
        [record(metrics={"macs": 1, "energy_j": [5.0] * 6})],
        [record(metrics={"macs": 1, "latency_s": [0.1] * 6})],
    )
    assert verdicts(found) == {"macs": "equal"}
    assert "only before: energy_j, of 1 case" in found.notes
    assert "only after: latency_s, of 1 case" in found.notes


def test_runs_without_a_common_case_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no case is in both"):
        compared(tmp_path, [record("a")], [record("b")])


def test_the_command_exits_with_four_on_a_regression_and_lists_it_first(tmp_path):
    before = [record(metrics={"latency_s": noisy(0.1, seed=1), "macs": 5})]
    after = [record(metrics={"latency_s": noisy(0.12, seed=2), "macs": 5})]
    first, second = write_run(tmp_path / "a", before), write_run(tmp_path / "b", after)
    worse = vbench("compare", first, second)
    assert worse.returncode == 4
    header, *rows = (line.split("\t") for line in worse.stdout.splitlines())
    named = [dict(zip(header, row, strict=True)) for row in rows]
    assert {row["metric"] for row in named} == {"latency_s", "throughput_clips_per_s"}
    assert {row["verdict"] for row in named} == {"worse"}
    assert "is worse than" in worse.stderr
    same = vbench("compare", first, second, "--threshold", "40%", "--all", "--json")
    assert same.returncode == 0
    document = json.loads(same.stdout)
    assert document["is_regression"] is False
    assert {change["verdict"] for change in document["comparison"]["changes"]} == {"equal"}


@pytest.mark.parametrize("threshold", ["5", "-5%", "much", "nan%"])
def test_the_command_refuses_what_is_no_percentage(tmp_path, threshold):
    run = write_run(tmp_path / "a", [record(metrics={"macs": 1})])
    refused = vbench("compare", run, run, f"--threshold={threshold}")
    assert refused.returncode == 2
    assert "not a percentage" in refused.stderr


def test_the_command_refuses_mixed_kinds_and_what_is_neither(tmp_path):
    sweep = write_run(tmp_path / "sweep", [record(metrics={"macs": 1})])
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "evaluation.json").write_text("{}")
    mixed = vbench("compare", sweep, evaluation)
    assert mixed.returncode == 2
    assert "is an evaluation" in mixed.stderr
    neither = vbench("compare", sweep, tmp_path)
    assert neither.returncode == 2
    assert "neither an evaluation nor a sweep" in neither.stderr
