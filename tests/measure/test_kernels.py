"""Which kernels ran, told from operators followed in Python and from what the profiler records."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from model_zoo.kernels import forms
from model_zoo.kernels._llvm import instruction_set
from tests.records import a_case
from vbench.core.types import Case, ClipSpec
from vbench.measure import step_trace, subject
from vbench.measure.probes import kernels as probe
from vbench.measure.step_trace import StepTrace, follow, read_events

CLIP = ClipSpec(num_frames=2, height_px=32, width_px=32)


def notes_of(model="timesformer_tiny", **fields):
    case = Case(model=model, clip=CLIP, batch_size=1, **fields)
    return probe.kernels(subject.build(case, 1)).notes


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize(
    ("attention", "kernel"), [("sdpa", "cpu flash"), ("flash", "cpu flash"), ("math", "math")]
)
def test_the_attention_kernel_that_ran_is_named_and_its_calls_counted(mode, attention, kernel):
    notes = notes_of(attention=attention, mode=mode)
    assert notes["kernels"] == f"attention {kernel}"
    # 12 blocks that attend over time and over space
    assert json.loads(notes["attention_kernels"]) == {kernel: 24}
    assert "attention fallback" not in notes


def test_eager_attention_runs_no_kernel_of_attention():
    notes = notes_of(attention="eager")
    assert notes["kernels"] == "attention eager"
    assert "attention_kernels" not in notes


def test_the_form_that_each_of_the_zoos_operators_ran_in_is_named():
    form = native_form()
    notes = notes_of("videomamba_tiny", attention="none")
    assert f"causal_conv1d {form}" in notes["kernels"]
    assert f"selective_scan {form}" in notes["kernels"]
    assert "backward" not in notes["kernels"]
    named = json.loads(notes["operator_implementations"])
    assert named["causal_conv1d"] == named["selective_scan"] == form
    assert json.loads(notes["calls_by_kernel"])["model_zoo::selective_scan"] == 24


def test_gradients_are_named_by_the_form_that_they_ran_in():
    notes = notes_of("videomamba_tiny", attention="none", mode="training")
    named = json.loads(notes["operator_implementations"])
    assert named["selective_scan"] == named["selective_scan_backward"] == native_form()
    assert f"selective_scan {native_form()}" in notes["kernels"].split(", ")
    assert named["causal_conv1d_backward"] == "chunked"
    shown = native_form() + ("" if native_form() == "chunked" else " with chunked backward")
    assert f"causal_conv1d {shown}" in notes["kernels"].split(", ")


def test_a_form_is_what_ran_and_not_what_would_run_elsewhere(monkeypatch):
    monkeypatch.setenv("MODEL_ZOO_NATIVE", "off")
    assert "selective_scan chunked" in notes_of("videomamba_tiny", attention="none")["kernels"]


def native_form() -> str:
    level = instruction_set()
    return "chunked" if level is None else f"native ({level.name})"


def test_shares_of_the_time_are_of_the_operators_that_take_it():
    x = torch.randn(512, 512)
    trace = follow(lambda: (x @ x @ x).relu())
    assert trace.calls["aten::mm"] == 2
    assert trace.calls["aten::relu"] == 1
    assert trace.seconds["aten::mm"] > trace.seconds["aten::relu"]


def test_operators_inside_of_the_zoos_are_not_counted_beside_it():
    from model_zoo.kernels.bi_wkv import bi_wkv

    k, v = torch.randn(2, 1, 8, 4)
    trace = follow(lambda: bi_wkv(k, v, torch.ones(4), torch.ones(4)))
    assert trace.operators["model_zoo::bi_wkv"] == 1
    assert set(trace.operators) <= {"model_zoo::bi_wkv", "aten::ones"}


@pytest.mark.parametrize(
    ("asked", "used", "said"),
    [
        ("sdpa", {"flash": 12}, None),
        ("sdpa", {"cpu flash": 12}, None),
        ("flash", {"cpu flash": 12}, None),
        ("math", {"math": 12}, None),
        ("eager", {}, None),
        ("none", {"math": 1}, None),
        (
            "sdpa",
            {"flash": 3, "math": 9},
            "attention fell back to math in 9 of 12 calls; no fused kernel takes its inputs",
        ),
        (
            "flash",
            {"math": 12},
            "attention fell back to math in 12 of 12 calls; asked for: flash",
        ),
        ("eager", {"flash": 12}, "eager attention was replaced by: flash"),
    ],
)
def test_a_fallback_is_said_in_words(asked, used, said):
    assert probe.attention_fallback(used, asked) == said


def test_a_mask_that_no_fused_kernel_takes_shows_as_a_fallback():
    q = torch.randn(1, 1, 4, 8, dtype=torch.float32)
    mask = torch.zeros(4, 4, requires_grad=True)  # its gradient is math's alone on a CPU

    def step():
        return torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    used = probe.attention_kernels(follow(step))
    assert used == {"math": 1}
    assert probe.attention_fallback(used, "sdpa")


@dataclass
class FakeEvent:
    """An event of torch's profiler."""

    label: str
    start: int
    end: int
    where: str = "CPU"
    annotation: bool = False
    thread: int = 1

    def name(self) -> str:
        return self.label

    def device_type(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.where)

    def start_ns(self) -> int:
        return self.start

    def end_ns(self) -> int:
        return self.end

    def start_thread_id(self) -> int:
        return self.thread

    def is_user_annotation(self) -> bool:
        return self.annotation


CUDA_STEP = [
    FakeEvent("aten::linear", 0, 100),
    FakeEvent("aten::addmm", 10, 90),
    FakeEvent("cudaLaunchKernel", 20, 30),
    FakeEvent("model_zoo::selective_scan", 100, 200),
    FakeEvent("cuLaunchKernelEx", 110, 120),
    FakeEvent("aten::_scaled_dot_product_flash_attention", 200, 300),
    FakeEvent("cudaLaunchKernelExC", 210, 220),
    FakeEvent("cudaMemcpyAsync", 230, 240),
    FakeEvent("void gemm<float>(int)", 1000, 4000, "CUDA"),
    FakeEvent("scan_kernel", 4000, 9000, "CUDA"),
    FakeEvent("void flash_fwd_kernel<half>(Params)", 9000, 11000, "CUDA"),
    FakeEvent("Memcpy DtoD (Device -> Device)", 11000, 99000, "CUDA"),
    FakeEvent("Optimizer.step#AdamW.step", 1000, 99000, "CUDA", annotation=True),
]


def test_cuda_kernels_are_timed_by_name_and_their_launches_counted():
    trace = read_events(CUDA_STEP, is_cuda=True)
    assert trace.num_launches == 3
    assert trace.calls == {
        "void gemm<float>(int)": 1,
        "scan_kernel": 1,
        "void flash_fwd_kernel<half>(Params)": 1,
    }
    assert trace.seconds["scan_kernel"] == pytest.approx(5e-6)
    notes = probe.describe(trace, a_case(device="cuda:0", attention="sdpa"), {})
    assert notes["attention_kernels"] == '{"flash": 1}'
    assert notes["kernels"].startswith("attention flash, selective_scan ")
    shares = json.loads(notes["time_percent_by_kernel"])
    assert shares == {"scan_kernel": 50.0, "gemm<float>": 30.0, "flash_fwd_kernel<half>": 20.0}


def test_in_a_replayed_cuda_graph_attention_is_known_by_its_kernels():
    replay = [
        FakeEvent("cudaGraphLaunch", 0, 10),
        FakeEvent("fmha_cutlassF_bf16_aligned_64x64_rf_sm80", 10, 20, "CUDA"),
        FakeEvent("fmha_cutlassF_bf16_aligned_64x64_rf_sm80", 20, 30, "CUDA"),
        FakeEvent("fmha_cutlassB_bf16_aligned_64x64_k64_sm80", 30, 40, "CUDA"),
    ]
    trace = read_events(replay, is_cuda=True)
    assert trace.num_launches == 1
    assert probe.attention_kernels(trace) == {"efficient": 2}


def test_in_a_replayed_cuda_graph_operators_are_those_noted_at_its_capture(monkeypatch):
    def profile(step, **options):
        step()
        return read_events([FakeEvent("cudaGraphLaunch", 0, 10)], is_cuda=True)

    monkeypatch.setattr(step_trace, "profile", profile)
    monkeypatch.setattr(probe, "open_device", lambda name: SimpleNamespace(synchronize=None))
    built = subject.build(Case(model="timesformer_tiny", clip=CLIP, batch_size=1), 1)
    graph = subject.Subject(
        case=a_case(device="cuda", attention="none", cudagraph=True),
        batch_size=1,
        model=built.model,
        clips=built.clips,
        step=lambda: None,
    )
    forms.forget()
    forms.note("selective_scan", "triton")
    assert probe.kernels(graph).notes["kernels"] == "selective_scan triton"


def test_on_a_cpu_an_event_counts_without_those_inside_it():
    events = [
        FakeEvent("aten::linear", 0, 100),
        FakeEvent("aten::addmm", 10, 90),
        FakeEvent("aten::linear", 0, 50, thread=2),
        FakeEvent("model_zoo::selective_scan", 100, 200),
        FakeEvent("aten::mul", 110, 190),
    ]
    trace = read_events(events, is_cuda=False)
    assert trace.num_launches is None
    assert trace.seconds == pytest.approx(
        {"aten::linear": 70e-9, "aten::addmm": 80e-9, "model_zoo::selective_scan": 100e-9}
    )
    assert "aten::mul" not in trace.operators


def test_the_profiler_and_following_in_python_see_the_same():
    case = Case(model="timesformer_tiny", clip=CLIP, batch_size=1)
    step = subject.build(case, 1).step
    profiled = step_trace.profile(step, device_type="cpu", synchronize=lambda: None)
    followed = follow(step)
    assert probe.attention_kernels(profiled) == probe.attention_kernels(followed)
    assert profiled.calls["aten::addmm"] == followed.calls["aten::addmm"]


def test_without_a_profiler_kernels_are_still_named_and_the_lack_is_said(monkeypatch):
    def unavailable(*args, **kwargs):
        raise step_trace.ProfilerUnavailableError("CUPTI is not there")

    monkeypatch.setattr(step_trace, "profile", unavailable)
    built = subject.build(Case(model="timesformer_tiny", clip=CLIP, batch_size=1), 1)
    on_cuda = subject.Subject(
        case=a_case(model="timesformer_tiny", device="cuda"),
        batch_size=1,
        model=built.model,
        clips=built.clips,
        step=built.step,
    )
    monkeypatch.setattr(probe, "open_device", lambda name: SimpleNamespace(synchronize=None))
    found = probe.kernels(on_cuda)
    assert found.notes["profiler"] == "not available: CUPTI is not there"
    assert found.notes["kernels"] == "attention cpu flash"
    assert not found.values
    assert "time_percent_by_kernel" not in found.notes


def test_a_trace_without_kernels_is_empty_of_notes():
    trace = StepTrace(operators={}, seconds={}, calls={})
    assert probe.describe(trace, a_case(attention="none"), {}) == {}
