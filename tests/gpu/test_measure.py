"""What only a CUDA device can show. Run with `make gpu`."""

from typing import Any

import msgspec
import pytest
import torch

from vbench.core import stats
from vbench.core.types import Case, ClipSpec, TimingSpec
from vbench.measure import subject
from vbench.measure.executors import EXECUTORS
from vbench.measure.runner import Runner

pytestmark = pytest.mark.gpu

TIMING = TimingSpec(max_duration_s=2.0)


@pytest.fixture(scope="module")
def runner():
    executor = EXECUTORS["fork"]()
    yield Runner(executor, run_id="gpu", timeout_s=300.0)
    executor.close()


def case(model: str = "videomamba_tiny", **fields: Any) -> Case:
    known: dict[str, Any] = {
        "model": model,
        "clip": ClipSpec(num_frames=16),
        "batch_size": 4,
        "precision": "bf16",
        "device": "cuda:0",
        "timing": TIMING,
    }
    return Case(**known | fields)


def test_a_cuda_case_has_time_memory_and_the_names_of_the_machine(runner):
    record = runner.measure(case())
    assert record.status == "ok", record.error
    assert len(record.values("latency_s")) >= 10
    assert record.values("peak_allocated_bytes")[0] > record.values("resident_allocated_bytes")[0]
    assert record.environment is not None
    assert record.environment.device_name == torch.cuda.get_device_name(0)
    assert record.environment.gpu_uuid


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize(
    "model", ["timesformer_tiny_joint", "timesformer_tiny", "videomamba_tiny", "timesformer_base"]
)
def test_the_memory_estimate_is_within_five_percent_of_the_allocator(
    runner, model, mode, attention
):
    record = runner.measure(case(model, mode=mode, attention=attention))
    assert record.status == "ok", record.error
    measured = record.values("peak_allocated_bytes")[0]
    estimated = record.values("estimated_peak_bytes")[0]
    assert estimated == pytest.approx(measured, rel=0.05)


def test_energy_is_power_times_time(runner):
    record = runner.measure(case(probes=("latency", "energy")))
    if not record.values("energy_j"):
        pytest.skip(record.notes.get("energy", "no energy"))
    joules = stats.median(record.values("energy_j"))
    watts = stats.median(record.values("gpu_power_w"))
    assert joules / watts == pytest.approx(stats.median(record.values("latency_s")), rel=0.3)


def test_more_than_the_gpu_holds_is_out_of_memory_and_the_next_case_runs(runner):
    assert runner.measure(case(batch_size=10**6)).status == "oom"
    assert runner.measure(case()).status == "ok"


def test_the_largest_batch_fits_and_one_tenth_more_does_not(runner):
    asked = case("timesformer_tiny_joint", attention="eager", clip=ClipSpec(num_frames=32))
    record = runner.measure(msgspec.structs.replace(asked, batch_size="auto"))
    assert record.status == "ok", record.error
    assert record.batch_size is not None
    more = msgspec.structs.replace(asked, batch_size=int(record.batch_size * 1.1) + 1)
    assert runner.measure(more).status == "oom"


def test_a_cuda_graph_gives_the_same_logits():
    asked = case(batch_size=1, cudagraph=True)
    graphed = subject.build(asked, 1)
    eager = subject.build(msgspec.structs.replace(asked, cudagraph=False), 1)
    torch.testing.assert_close(graphed.step(), eager.step())


@pytest.mark.parametrize("model", ["videomamba_tiny", "timesformer_tiny"])
def test_cuda_gives_the_logits_of_the_cpu_in_float32(model):
    on_gpu = subject.build(case(model, precision="fp32", batch_size=1), 1)
    on_cpu = subject.build(case(model, precision="fp32", batch_size=1, device="cpu"), 1)
    on_gpu.model.load_state_dict(on_cpu.model.state_dict())
    with torch.inference_mode():
        expected = on_cpu.model(on_cpu.clips)
        found = on_gpu.model(on_cpu.clips.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
