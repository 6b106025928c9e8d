"""Every way a worker can end becomes an outcome, in both kinds of isolation."""

import json
import time
from typing import Any

import msgspec
import pytest

from tests.records import a_case
from vbench.core.types import Case, ClipSpec, TimingSpec
from vbench.measure.executors import EXECUTORS
from vbench.measure.runner import Runner

QUICK = TimingSpec(
    warmup_iters=1, max_warmup_iters=1, min_iters=2, min_duration_s=0.0, max_duration_s=0.2
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """Workers forked from one server, which most tests share."""
    executor = EXECUTORS["fork"]()
    log = tmp_path_factory.mktemp("run") / "log.txt"
    yield Runner(executor, run_id="test", timeout_s=120.0, log=log)
    executor.close()


def case(model: str = "timesformer_tiny", *, num_frames: int = 2, **fields: Any) -> Case:
    clip = ClipSpec(num_frames=num_frames, height_px=32, width_px=32)
    known: dict[str, Any] = {"batch_size": 1, "timing": QUICK}
    return Case(model=model, clip=clip, **known | fields)


def test_a_cpu_case_is_timed_and_counted(runner):
    record = runner.measure(case())
    assert record.status == "ok", record.error
    kinds = {m.metric: m.kind for m in record.measurements}
    assert kinds["latency_s"] == "measured"
    assert kinds["macs"] == "counted"
    assert kinds["estimated_peak_bytes"] == "estimated"
    assert record.batch_size == 1
    assert record.environment is not None
    assert record.environment.num_threads


def test_a_meta_case_needs_no_memory_for_what_no_gpu_could_hold(runner):
    large = Case(
        model="timesformer_tiny_joint",
        clip=ClipSpec(num_frames=64),
        batch_size=128,
        precision="bf16",
        attention="eager",
        device="meta",
        gpu="NVIDIA H100 80GB HBM3",
    )
    record = runner.measure(large)
    assert record.status == "ok", record.error
    (peak,) = record.values("estimated_peak_bytes")
    assert peak > 200 * 2**30


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("no_such_model", {}, "unknown model"),
        ("videomamba_tiny", {"precision": "tf32"}, "tf32"),
        ("clip_vit_base_16", {}, "frame"),
    ],
)
def test_what_cannot_run_is_unsupported_and_says_why(runner, model, fields, message):
    record = runner.measure(case(model, **fields))
    assert record.status == "unsupported"
    assert message in (record.error or "")


def test_an_allocation_beyond_the_machine_is_out_of_memory(runner):
    record = runner.measure(case(batch_size=10**9))
    assert record.status == "oom"
    assert "building the model" in (record.error or "")


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("raises", "error", "probe cold_start: ValueError: <b>this model | raises</b>"),
        ("is_killed", "error", "was killed by signal 9"),
        ("crashes", "error", "was killed by signal 6"),
        ("exits", "error", "exited 7"),
        ("allocates", "oom", "probe cold_start"),
    ],
)
def test_a_model_that_ends_badly_is_a_record_and_the_next_is_measured(runner, how, status, message):
    record = runner.measure(case(f"tests.measure.broken_models:{how}"))
    assert record.status == status
    assert message in (record.error or "")
    assert record.environment is not None  # what was known before is kept


def test_what_a_worker_prints_goes_to_the_log_and_never_to_stdout(runner, capfd):
    runner.measure(case("tests.measure.broken_models:raises"))
    assert capfd.readouterr() == ("", "")
    assert "Traceback" in runner._log.read_text(encoding="utf-8")


def test_training_takes_a_whole_step(runner):
    record = runner.measure(case(mode="training"))
    assert record.status == "ok", record.error
    forward = runner.measure(case()).values("macs")[0]
    assert 2.5 * forward < record.values("macs")[0] < 3.1 * forward


def test_a_timeout_keeps_what_was_measured_before(runner):
    slow = TimingSpec(
        warmup_iters=1,
        max_warmup_iters=1,
        min_iters=10**6,
        min_duration_s=1e6,
        max_duration_s=1e6,
        half_width_percent=1e-9,
    )
    executor = EXECUTORS["fork"]()
    try:
        impatient = Runner(executor, run_id="test", timeout_s=4.0)
        impatient.inspect()
        start = time.monotonic()
        record = impatient.measure(case(timing=slow))
        assert time.monotonic() - start < 20.0
        assert record.status == "timeout"
        assert record.error == "no outcome within 4 s"
        assert record.values("cold_start_s")
        patient = Runner(executor, run_id="test", timeout_s=120.0)
        assert patient.measure(case()).status == "ok"  # the server serves on
    finally:
        executor.close()


@pytest.mark.slow
def test_a_new_interpreter_measures_the_same_point():
    executor = EXECUTORS["fresh"]()
    record = Runner(executor, run_id="test", timeout_s=120.0).measure(case())
    assert record.status == "ok", record.error
    assert record.values("latency_s")


def test_auto_batch_on_meta_is_the_largest_that_fits_the_gpu(runner):
    asked = Case(
        model="videomamba_tiny",
        clip=ClipSpec(num_frames=8),
        batch_size="auto",
        device="meta",
        gpu="NVIDIA H100 80GB HBM3",
    )
    record = runner.measure(asked)
    assert record.status == "ok", record.error
    assert record.batch_size is not None
    (peak,) = record.values("estimated_peak_bytes")
    limit = 0.97 * 80 * 2**30
    assert peak <= limit * 1.01
    assert peak * (record.batch_size + 2) / record.batch_size > limit * 0.97


def test_records_are_json_that_reads_back(runner):
    record = runner.measure(case())
    again = msgspec.json.decode(msgspec.json.encode(record), type=type(record))
    assert again == record
    assert json.loads(msgspec.json.encode(record))["case"]["model"] == "timesformer_tiny"


def test_the_same_case_has_the_same_id_everywhere():
    assert a_case().case_id == a_case().case_id
