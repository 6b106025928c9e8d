"""Kernels timed in turns: the order, what slow forms are spared, and what the ratios mean."""

import pytest
import torch

from tests.measure.fakes import FakeClock
from tests.records import an_environment
from vbench.core.bench import Contender, KernelRecord, ratio, read
from vbench.core.errors import UnavailableError, UsageError
from vbench.core.store import RunWriter
from vbench.measure import bench
from vbench.measure.bench.interleave import Form, device_timer, host_timer, interleave
from vbench.measure.device import CpuDevice


class FakeForms:
    """Forms that take a known time on the test's clock, and remember when they were called."""

    def __init__(self, **seconds):
        self.clock = FakeClock()
        self.calls = []
        self.forms = {name: self._form(name, taken) for name, taken in seconds.items()}

    def _form(self, name, taken):
        def call():
            self.calls.append(name)
            self.clock.advance(taken)

        return Form(role="ours", call=call)

    def interleave(self, num_rounds):
        timer = host_timer(self.clock)
        return interleave(self.forms, num_rounds=num_rounds, timer=timer, first_timer=timer)


def test_every_other_round_goes_backwards_and_each_sample_follows_an_untimed_call():
    fake = FakeForms(a=0.01, b=0.02)
    a, b = fake.interleave(3)
    assert fake.calls[:2] == ["a", "b"]  # the first calls, timed apart
    assert fake.calls[2:] == [*"aabb", *"bbaa", *"aabb"]
    assert a.seconds == pytest.approx([0.01] * 3)
    assert b.seconds == pytest.approx([0.02] * 3)
    assert b.rounds == (0, 1, 2)
    assert b.first_call_s == pytest.approx(0.02)


def test_a_slow_form_takes_part_in_every_fifth_round_without_the_untimed_call():
    fake = FakeForms(fast=0.01, slow=2.0)
    fast, slow = fake.interleave(11)
    assert fast.rounds == tuple(range(11))
    assert slow.rounds == (0, 5, 10)
    assert fake.calls.count("slow") == 2 + 3  # the first, the one that tells, the samples


def test_a_very_slow_form_takes_part_in_every_tenth_round():
    fake = FakeForms(fast=0.01, slow=2.5)
    _, slow = fake.interleave(21)
    assert slow.rounds == (0, 10, 20)
    assert fake.calls.count("slow") == 2 + 3


def test_a_form_that_is_slow_only_because_it_compiles_is_not_spared():
    fake = FakeForms(jit=0.0)
    times = iter([3.0])

    def call():
        fake.clock.advance(next(times, 0.01))

    timer = host_timer(fake.clock)
    forms = {"jit": Form(role="ours", call=call)}
    (jit,) = interleave(forms, num_rounds=4, timer=timer, first_timer=timer)
    assert jit.rounds == (0, 1, 2, 3)
    assert jit.first_call_s == pytest.approx(3.0)


def contender(name, rounds, seconds, role="ours"):
    return Contender(
        name=name, role=role, rounds=tuple(rounds), seconds=tuple(seconds), first_call_s=0.0
    )


def test_a_ratio_is_of_rounds_that_both_took_part_in_so_that_drift_cancels():
    drifting = contender("a", range(6), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    slow = contender("b", (0, 5), [10.0, 320.0])
    assert ratio(slow, drifting) == pytest.approx(10.0)
    assert ratio(contender("c", (9,), [1.0]), drifting) is None


def test_the_device_is_idle_before_and_after_a_timed_call():
    order = []

    class Device(CpuDevice):
        def synchronize(self):
            order.append("synchronize")

        def mark(self):
            order.append("mark")
            return 0.0

    assert device_timer(Device())(lambda: order.append("call")) == 0.0
    assert order == ["synchronize", "mark", "call", "mark", "synchronize"]


SCAN = {"batch": 2, "num_tokens": 7, "num_channels": 32, "num_states": 4}
SMALL = {
    "selective_scan": SCAN,
    "selective_scan_backward": SCAN,
    "causal_conv1d": {"batch": 2, "num_tokens": 7, "num_channels": 32},
    "attention": {"batch": 2, "num_tokens": 7, "num_heads": 2, "num_channels": 8},
    "bi_wkv": {"batch": 2, "num_tokens": 7, "num_channels": 16},
    "bi_wkv_matrix": {"batch": 2, "num_tokens": 7, "num_heads": 2, "num_channels": 8},
}


@pytest.mark.parametrize("kernel", sorted(bench.KERNELS))
def test_all_forms_of_a_kernel_compute_the_same(kernel):
    forms = bench.KERNELS[kernel].forms(SMALL[kernel], torch.device("cpu"))
    results = {}
    for name, form in forms.items():
        if form.role in ("reference", "ours", "peer"):
            found = form.call()
            results[name] = found[0] if isinstance(found, tuple) else found
    reference = results.pop(next(n for n, f in forms.items() if f.role == "reference"))
    assert results
    for name, found in results.items():
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("kernel", sorted(bench.KERNELS))
def test_every_kernel_has_a_reference_and_a_floor(kernel):
    roles = [
        f.role for f in bench.KERNELS[kernel].forms(SMALL[kernel], torch.device("cpu")).values()
    ]
    assert roles[0] == "reference"
    assert roles.count("reference") == 1
    assert "floor" in roles


def test_a_run_yields_a_whole_record_a_point_that_reads_back(monkeypatch, tmp_path):
    tiny = bench.KernelBench(
        forms=bench.KERNELS["attention"].forms,
        sizes=(SMALL["attention"],),
        quick_sizes=(SMALL["attention"],),
    )
    monkeypatch.setitem(bench.KERNELS, "attention", tiny)
    points = bench.points(("attention",), quick=True)
    threads = torch.get_num_threads()
    (record,) = bench.run(points, device="cpu", quick=True)
    torch.set_num_threads(threads)
    assert record.clock == "cpu"
    assert record.environment.hostname is None
    assert {len(one.seconds) for one in record.contenders} == {bench.QUICK_ROUNDS}
    best, floor = record.best(), record.floor()
    assert best is not None
    assert floor is not None
    assert (best.name, floor.name) == ("sdpa", "matmul")
    with RunWriter(tmp_path) as writer:
        writer.append(record)
    assert read(tmp_path) == [record]


def test_one_run_goes_through_the_points_on_each_number_of_threads(monkeypatch):
    tiny = bench.KernelBench(
        forms=bench.KERNELS["attention"].forms,
        sizes=(SMALL["attention"],),
        quick_sizes=(SMALL["attention"],),
    )
    monkeypatch.setitem(bench.KERNELS, "attention", tiny)
    threads = torch.get_num_threads()
    points = bench.points(("attention",), threads=(1, 2), quick=True)
    records = list(bench.run(points, device="cpu", quick=True))
    torch.set_num_threads(threads)
    assert [(one.num_threads, one.clock) for one in records] == [(1, "cpu"), (2, "wall")]


def test_the_points_asked_for_are_among_those_of_a_whole_run():
    sizes = bench.KERNELS["selective_scan"].sizes
    assert {(one["batch"], one["num_tokens"]) for one in sizes} >= {
        *((1, 1569), (1, 12545)),
        *((4, 1569), (4, 12545)),
    }


def test_the_clock_suits_what_runs():
    assert bench.clock_of("cpu", 1)[0] == "cpu"
    assert bench.clock_of("cpu", 2)[0] == "wall"


def test_a_quick_run_has_fewer_points_and_an_unknown_kernel_is_refused():
    assert len(bench.points((), quick=True)) < len(bench.points((), quick=False))
    with pytest.raises(UsageError, match="unknown kernel: nothing"):
        bench.points(("nothing",), quick=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_a_bench_on_one_is_unavailable():
    with pytest.raises(UnavailableError, match="no such device here: cuda"):
        next(bench.run([], device="cuda", quick=True))


def test_records_of_something_else_are_not_taken_for_these(tmp_path):
    assert read(tmp_path) == []
    (tmp_path / "records.jsonl").write_text('{"schema_version": 1, "case": {}}\n')
    with pytest.raises(UsageError, match="no records of kernels"):
        read(tmp_path)


def test_the_floor_is_the_highest_and_the_best_the_fastest():
    record = KernelRecord(
        schema_version=1,
        started_at_utc="2026-11-21T12:00:00+00:00",
        kernel="k",
        sizes={"batch": 1, "num_tokens": 8},
        device="cpu",
        num_threads=1,
        clock="cpu",
        contenders=(
            contender("plain", (0,), [9.0], role="reference"),
            contender("slow", (0,), [4.0]),
            contender("fast", (0,), [3.0]),
            contender("traffic", (0,), [1.0], role="floor"),
            contender("matmul", (0,), [2.0], role="floor"),
        ),
        environment=an_environment(),
    )
    assert record.best() is record.contenders[2]
    assert record.floor() is record.contenders[4]
