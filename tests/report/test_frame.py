import msgspec
import pytest

from tests.report.fabricate import GPU, environment, record
from vbench.report.frame import points, to_frame


def row(frame, metric):
    rows = frame[frame["metric"] == metric]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_metric_is_summarised_by_its_median_interval_and_percentiles():
    samples = [float(value) for value in range(1, 11)]
    latency = row(to_frame([record(metrics={"latency_s": samples})]), "latency_s")
    assert latency["median"] == 5.5
    assert (latency["low"], latency["high"]) == (2.0, 9.0)
    assert latency["p5"] == pytest.approx(1.45)
    assert latency["p95"] == pytest.approx(9.55)
    assert (latency["count"], latency["kind"], latency["unit"]) == (10, "measured", "s")


def test_a_single_value_has_no_interval():
    peak = row(to_frame([record(metrics={"peak_allocated_bytes": 7.0})]), "peak_allocated_bytes")
    assert peak["median"] == 7.0
    assert peak[["low", "high"]].isna().all()


def test_processes_of_a_point_are_pooled_and_the_interval_holds_their_medians():
    records = [record(metrics={"latency_s": [m] * 10}, repeat=i) for i, m in enumerate((1, 1, 2))]
    latency = row(to_frame(records), "latency_s")
    assert (latency["num_processes"], latency["count"]) == (3, 30)
    assert (latency["median"], latency["low"], latency["high"]) == (1.0, 1.0, 2.0)
    assert latency["between_percent"] == pytest.approx(100.0)


def test_the_latest_record_of_a_case_wins():
    failed = record(status="oom", error="no memory", started_at_utc="2026-01-01T00:00:00Z")
    again = record(metrics={"latency_s": 1.0}, started_at_utc="2026-01-02T00:00:00Z")
    frame = to_frame([again, failed])
    assert list(frame["status"]) == ["ok"]


def test_a_failed_point_keeps_a_row_with_its_reason():
    frame = to_frame([record(status="oom", error="CUDA out of memory\nin warm-up")])
    assert list(frame["status"]) == ["oom"]
    assert frame["metric"].isna().all()
    assert frame["error"].iloc[0] == "CUDA out of memory in warm-up"


def test_a_failed_point_keeps_what_it_measured_before():
    frame = to_frame([record(metrics={"macs": 5.0}, status="timeout")])
    assert row(frame, "macs")["status"] == "timeout"


def test_a_point_that_some_processes_failed_counts_them():
    records = [record(metrics={"latency_s": 1.0}), record(repeat=1, status="oom")]
    point = points(to_frame(records)).iloc[0]
    assert (point["status"], point["num_processes"], point["num_failed"]) == ("ok", 2, 1)


def test_probes_of_one_point_taken_apart_meet_in_one_point():
    records = [
        record(metrics={"latency_s": 1.0}, probes=("latency",)),
        record(metrics={"macs": 2.0}, probes=("macs",)),
    ]
    frame = to_frame(records)
    assert len(points(frame)) == 1
    assert set(frame["metric"]) == {"latency_s", "macs"}


def test_an_automatic_batch_shows_the_size_that_ran_and_pools_no_other():
    records = [
        record(metrics={"latency_s": 1.0}, batch_size="auto"),
        record(metrics={"latency_s": 9.0}, batch_size="auto", repeat=1),
    ]
    sizes = [
        msgspec.structs.replace(r, batch_size=n) for r, n in zip(records, (64, 32), strict=True)
    ]
    latency = row(to_frame(sizes), "latency_s")
    assert (latency["batch"], latency["batch_size"], latency["median"]) == ("auto", 64, 1.0)


def test_the_same_case_on_two_devices_is_two_points():
    records = [
        record(metrics={"latency_s": 1.0}),
        record(metrics={"latency_s": 2.0}, environment=environment("A100")),
    ]
    assert sorted(points(to_frame(records))["place"]) == ["A100", GPU]


def test_a_process_that_died_without_saying_belongs_to_the_device_of_its_run():
    records = [
        record(metrics={"latency_s": 1.0}),
        record(num_frames=16, status="error", environment=None),
    ]
    assert set(points(to_frame(records))["place"]) == {GPU}


def test_an_estimate_belongs_to_the_gpu_it_names():
    frame = to_frame([record(metrics={"estimated_peak_bytes": 1.0}, device="meta", gpu="A100")])
    assert frame["place"].iloc[0] == "A100"


def test_a_time_estimated_for_another_device_is_not_shown_under_the_one_that_ran():
    metrics = {"latency_s": 1.0, "estimated_latency_s": 0.1, "estimated_peak_bytes": 1}
    notes = {"estimate_gpu": f"{GPU}: its whitepaper"}
    here = record(metrics=metrics, notes=notes, environment=environment("NVIDIA L4"))
    assert set(to_frame([here])["metric"]) == {"latency_s", "estimated_peak_bytes"}
    there = record(metrics=metrics, notes=notes)
    assert set(to_frame([there])["metric"]) == set(metrics)


def test_no_records_make_an_empty_frame_with_all_columns():
    frame = to_frame([])
    assert frame.empty
    assert {"model", "metric", "median", "status"} <= set(frame.columns)
