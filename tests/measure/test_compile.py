"""Compiled cases: compiling is told apart from running, and what makes times doubtful is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vbench.core.errors import UnavailableError
from vbench.core.types import Case, ClipSpec, TimingSpec
from vbench.measure import compiler
from vbench.measure.compiler import Compilations
from vbench.measure.executors import EXECUTORS
from vbench.measure.probes.latency import compiler_notes, compiler_values
from vbench.measure.runner import Runner

QUICK = TimingSpec(
    warmup_iters=1, max_warmup_iters=1, min_iters=2, min_duration_s=0.0, max_duration_s=0.05
)
ROOT = Path(__file__).parents[2]


def case(model: str, **fields) -> Case:
    return Case(
        model=f"tests.measure.compiled_models:{model}",
        clip=ClipSpec(num_frames=1, height_px=8, width_px=8),
        batch_size=1,
        timing=QUICK,
        compile=True,
        **fields,
    )


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """Workers that share compiled code, so that torch's headers are compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        executor = EXECUTORS["fork"]()
        yield Runner(executor, run_id="test", timeout_s=300.0)
        executor.close()


@pytest.mark.slow
@pytest.mark.xdist_group("heavy")
def test_a_compiled_case_tells_compiling_from_running(runner):
    record = runner.measure(case("Plain"))
    assert record.status == "ok", record.error
    (compile_s,) = record.values("compile_s")
    assert compile_s > 100 * min(record.values("latency_s"))
    assert not record.values("cold_start_s")
    assert record.values("num_graph_breaks") == (0.0,)
    assert record.values("num_recompiles") == (0.0,)
    assert "generated code" in record.notes["time_percent_by_kernel"]


@pytest.mark.slow
@pytest.mark.xdist_group("heavy")
def test_graph_breaks_are_counted_with_their_reason(runner):
    record = runner.measure(case("Broken"))
    assert record.status == "ok", record.error
    assert record.values("num_graph_breaks") == (1.0,)
    assert "graph_break()" in record.notes["graph_breaks"]


@pytest.mark.slow
@pytest.mark.xdist_group("heavy")
def test_compiling_inside_the_timed_steps_is_said(runner):
    record = runner.measure(case("Restless"))
    assert record.status == "ok", record.error
    (count,) = record.values("num_recompiles")
    assert count > 0
    assert record.notes["recompiled"].startswith(f"{count:.0f} times during timed steps")


@pytest.mark.slow
def test_without_a_compiler_a_compiled_case_is_unsupported_and_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    executor = EXECUTORS["fork"]()
    record = Runner(executor, run_id="test", timeout_s=60.0).measure(case("Plain"))
    executor.close()
    assert record.status == "unsupported"
    assert record.error == (
        "torch.compile needs a C++ compiler on a CPU, which is not here: no-such-compiler "
        "(install g++, or name another compiler in CXX)"
    )


def test_triton_needs_a_c_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UnavailableError, match="Triton needs a C compiler"):
        compiler.require_compiler("cuda")
    compiler.require_compiler("meta")  # nothing is compiled there


def test_what_was_compiled_before_the_timed_steps_is_no_recompilation():
    warm = Compilations(num_frames=3, graph_breaks={"print": 2})
    assert compiler_values(warm, warm) == {"num_graph_breaks": [2.0], "num_recompiles": [0.0]}
    assert set(compiler_notes(warm, warm)) == {"graph_breaks"}
    later = Compilations(num_frames=5, graph_breaks={"print": 2})
    assert compiler_values(warm, later)["num_recompiles"] == [2.0]
    assert compiler_notes(warm, later)["recompiled"].startswith("2 times")


def test_the_compiler_is_looked_for_without_torch():
    script = (
        "import sys; from vbench.measure import compiler; compiler.cpp_compiler();"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=os.environ, check=False)
    assert done.returncode == 0  # `vbench doctor` asks for the compiler without torch


def test_the_compiler_stays_in_one_process_and_does_not_fall_back_in_silence():
    script = (
        "from vbench.measure import compiler; compiler.prepare();"
        "import torch._inductor.config as i, torch._dynamo.config as d;"
        "assert i.compile_threads == 1; assert d.fail_on_recompile_limit_hit"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=os.environ, check=True)


def test_compiled_code_is_kept_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    compiler.keep_code_in(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    compiler.keep_code_in(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
