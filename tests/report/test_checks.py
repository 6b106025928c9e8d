from pathlib import Path

import pytest

from tests.report.fabricate import environment, record, write_run
from vbench.core.types import TimingSpec
from vbench.report import checks
from vbench.report.frame import to_frame
from vbench.report.provenance import read_runs

STEADY = [1.0 + 0.001 * (i % 5) for i in range(30)]


def timed(samples, **changes):
    return record(metrics={"latency_s": samples}, **changes)


def test_a_steady_measurement_raises_no_flag():
    one = timed(STEADY)
    found = [check(one) for check in checks._CHECKS.values()]
    assert found == [None] * len(found)


@pytest.mark.parametrize(
    ("check", "samples"),
    [
        (checks.slow_first, [2.0, *STEADY]),
        (checks.drift, [1 + 0.01 * i for i in range(30)]),
        (checks.outlying, [*STEADY, 9.0]),
        (checks.few_samples, [1.0] * 9),
        (checks.wide_interval, [1.0, 1.2] * 6),
    ],
)
def test_a_troubled_measurement_is_flagged(check, samples):
    assert check(timed(samples))
    assert check(timed(STEADY)) is None


def test_the_interval_is_held_against_what_was_asked_for():
    loose = TimingSpec(half_width_percent=20.0)
    assert checks.wide_interval(timed([1.0, 1.2] * 6, timing=loose)) is None


def test_launches_that_take_as_long_as_the_device_are_flagged():
    found = checks.launch_bound(record(metrics={"latency_s": 1.0, "host_enqueue_s": 0.95}))
    assert found == "launching takes 95% of the latency; --cudagraph makes it one launch"
    assert checks.launch_bound(record(metrics={"latency_s": 1.0, "host_enqueue_s": 0.5})) is None


@pytest.mark.parametrize("fields", [{"cudagraph": True}, {"mode": "training"}])
def test_a_cuda_graph_is_advised_only_where_one_can_help(fields):
    found = checks.launch_bound(
        record(metrics={"latency_s": 1.0, "host_enqueue_s": 0.95}, **fields)
    )
    assert found == "launching takes 95% of the latency"


def test_a_report_of_a_launch_bound_case_advises_a_cuda_graph(tmp_path):
    metrics = {"latency_s": STEADY, "host_enqueue_s": [0.97 * value for value in STEADY]}
    found = topics(tmp_path, [record(metrics=metrics), timed(STEADY, num_frames=16)])
    assert found["launch-bound"].startswith("1 of 2 timed cases: tiny 8x224")
    assert "--cudagraph" in found["launch-bound"]


def test_an_attention_fallback_is_told_from_the_notes():
    said = "attention fell back to math in 12 of 12 calls; no fused kernel takes its inputs"
    assert checks.attention_fallback(record(notes={"attention fallback": said})) == said


def test_compiling_during_timed_steps_is_flagged():
    assert checks.recompiled(record(metrics={"latency_s": 1.0, "num_recompiles": 0})) is None
    found = checks.recompiled(record(metrics={"latency_s": 1.0, "num_recompiles": 3}))
    assert found == "3 times inside the timed steps"


def test_lowered_clocks_are_told_from_the_notes():
    one = timed(STEADY, notes={"clocks lowered": "power cap 30 % of the time"})
    assert checks.lowered_clocks(one) == "power cap 30 % of the time"


def topics(tmp_path: Path, records, **writing):
    runs = read_runs([write_run(tmp_path / "run", records, **writing)])
    frame = to_frame([one for run in runs for one in run.records])
    return {flag.topic: flag.text for flag in checks.all_flags(runs, frame)}


def test_several_devices_and_software_are_flagged(tmp_path):
    records = [
        timed(STEADY),
        timed(STEADY, num_frames=16, environment=environment("A100")),
        timed(STEADY, num_frames=32, environment=environment("A100", torch="2.6.0")),
    ]
    found = topics(tmp_path, records)
    assert "A100" in found["several devices"]
    assert "2 combinations" in found["mixed environments"]


def test_an_estimate_beside_a_measurement_is_not_a_second_device(tmp_path):
    estimate = record(device="meta", environment=environment("no device (estimated)"))
    assert "several devices" not in topics(tmp_path, [timed(STEADY), estimate])


def test_another_version_of_vbench_is_flagged(tmp_path):
    found = topics(tmp_path, [timed(STEADY, environment=environment(vbench="0.0.1"))])
    assert "1 by 0.0.1" in found["other vbench"]


def test_torn_lines_missing_specs_and_failures_are_flagged(tmp_path):
    records = [timed(STEADY), record(num_frames=16, status="oom")]
    found = topics(tmp_path, records, spec=None, tail=b'{"schema_version":1,"ru')
    assert "on lines 3" in found["torn lines"]
    assert "no spec.toml" in found["no spec"]
    assert found["unfinished cases"] == "1 of 2 cases did not finish: 1 out of memory"


def test_automatic_batches_are_told(tmp_path):
    records = [record(num_frames=t, metrics={"latency_s": 1.0}, batch_size="auto") for t in (8, 16)]
    sized = [
        type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "batch_size": size})
        for one, size in zip(records, (64, 32), strict=True)
    ]
    assert "from 32 to 64 clips" in topics(tmp_path, sized)["different batches"]


def test_processes_that_disagree_are_flagged(tmp_path):
    records = [timed([m] * 12, repeat=i) for i, m in enumerate((1.0, 1.2, 1.0))]
    assert "20.0 % apart" in topics(tmp_path, records)["processes disagree"].replace("\n", " ")
