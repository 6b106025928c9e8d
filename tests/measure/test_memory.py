"""The memory probe, against a fake of ``torch.cuda``."""

from types import SimpleNamespace

import pytest
import torch

from tests.records import a_case
from vbench.measure.probes.memory import measure_step
from vbench.measure.probes.resident_memory import resident_memory
from vbench.measure.subject import Subject


class FakeCuda:
    """An allocator: 100 bytes live between steps, 700 more at a step's peak."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.peak = 999_999  # left behind by warm-up

    def synchronize(self, device):
        self.calls.append("synchronize")

    def empty_cache(self):
        self.calls.append("empty_cache")

    def reset_peak_memory_stats(self, device):
        self.calls.append("reset")
        self.peak = 100

    def step(self):
        self.calls.append("step")
        self.peak = max(self.peak, 800)

    def memory_allocated(self, device):
        return 100

    def max_memory_allocated(self, device):
        return self.peak

    def max_memory_reserved(self, device):
        return 2 << 20

    def get_device_properties(self, device):
        return SimpleNamespace(uuid="00000000-0000-0000-0000-000000000000")

    def memory_stats(self, device):
        return {"num_alloc_retries": 3}


def test_the_peak_is_of_one_step_after_a_reset_and_missing_nvml_is_said():
    cuda = FakeCuda()
    subject = Subject(
        case=a_case(device="cuda:0"),
        batch_size=1,
        model=torch.nn.Identity(),
        clips=torch.empty(0),
        step=cuda.step,
    )
    samples = measure_step(subject, cuda)
    assert samples.values["peak_allocated_bytes"] == [800]
    assert samples.values["resident_allocated_bytes"] == [100]
    assert cuda.calls == ["synchronize", "empty_cache", "reset", "step", "synchronize"]
    assert "nvml_used_bytes" not in samples.values
    assert samples.notes["nvml memory"] == "not given by the driver"
    assert samples.notes["allocator"].startswith("3 allocations")


def test_on_a_cpu_a_warm_step_is_seen_to_need_what_it_allocates():
    size = 64 << 20

    def step():
        torch.zeros(size, dtype=torch.uint8)

    subject = Subject(
        case=a_case(device="cpu"),
        batch_size=1,
        model=torch.nn.Identity(),
        clips=torch.empty(0),
        step=step,
    )
    step()  # a step that reused these pages would seem to need none
    (growth,) = resident_memory(subject).values["peak_rss_growth_bytes"]
    assert growth == pytest.approx(size, rel=0.1)
