"""Tasks on Python's threads: torch's state in them, errors, forks, and kernels that are run so."""

import functools
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo.kernels import _recurrence, bi_wkv
from model_zoo.kernels._threads import one_thread, run_tasks
from model_zoo.kernels.selective_scan import cpu, cpu_backward, selective_scan
from tests.model_zoo.kernels.drawing import REVERSE, normal, scan_operands


@pytest.fixture(autouse=True)
def chunked(monkeypatch):
    """Scans in plain torch."""
    monkeypatch.setenv("MODEL_ZOO_NATIVE", "off")


def in_new_thread(call: Any) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def test_tasks_run_side_by_side_each_with_one_of_torchs_threads(num_threads):
    num_threads(2)
    both = threading.Barrier(2, timeout=20)
    found = []

    def task() -> None:
        both.wait()
        found.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))

    run_tasks([task, task])
    assert found == [(1, True)] * 2
    assert not torch.is_inference_mode_enabled()


def test_torch_has_its_threads_back_and_so_have_new_threads(num_threads):
    num_threads(3)
    with pytest.raises(RuntimeError, match="inside"):
        _fail_on_one_thread()
    assert torch.get_num_threads() == 3
    both = threading.Barrier(2, timeout=20)
    run_tasks([both.wait, both.wait])
    assert torch.get_num_threads() == 3
    assert in_new_thread(torch.get_num_threads) == 3


@one_thread()
def _fail_on_one_thread() -> None:
    assert torch.get_num_threads() == 1
    raise RuntimeError("inside")


def test_the_error_of_a_task_comes_through_and_ends_the_rest(num_threads):
    ran = []

    def fail() -> None:
        raise RuntimeError("of a task")

    num_threads(2)
    with pytest.raises(RuntimeError, match="of a task"):
        run_tasks([lambda: None, fail, lambda: None])
    num_threads(1)
    with pytest.raises(RuntimeError, match="of a task"):
        run_tasks([fail, lambda: ran.append(1)])
    assert not ran


def test_tasks_may_run_tasks(num_threads):
    num_threads(2)
    total = torch.zeros(4)

    def outer(row: int) -> None:
        run_tasks([lambda: total[row].add_(1), lambda: total[row].add_(2)])

    run_tasks([functools.partial(outer, row) for row in range(4)])
    assert total.tolist() == [3] * 4


def test_many_callers_share_the_threads(num_threads):
    num_threads(3)
    operands: dict[str, Any] = scan_operands(2, 2, 70, 6, 4)
    expected = selective_scan(**operands, reverse=REVERSE[:2])
    results: list[bool] = []

    def caller() -> None:
        for _ in range(5):
            y = selective_scan(**operands, reverse=REVERSE[:2])
            results.append(torch.equal(y, expected))

    callers = [threading.Thread(target=caller) for _ in range(6)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert results == [True] * 30


def test_tasks_of_another_device_stay_on_the_thread_of_their_stream(num_threads):
    num_threads(2)
    names = []

    def task() -> None:
        time.sleep(0.05)
        names.append(threading.current_thread().name)

    run_tasks([task, task], device=torch.device("cuda"))
    assert names == [threading.current_thread().name] * 2


@pytest.mark.parametrize("sizes", [(2, 5, 70, 21, 16), (2, 1, 300, 401, 16)])
def test_the_number_of_threads_does_not_change_a_bit(sizes, num_threads):
    operands: dict[str, Any] = scan_operands(*sizes, dtype=torch.float32)
    leaves = [x.requires_grad_() for x in operands.values()]

    def results(num: int) -> list[Tensor]:
        num_threads(num)
        with torch.inference_mode():
            inferred = selective_scan(**operands, reverse=REVERSE[:2])
        y = selective_scan(**operands, reverse=REVERSE[:2])
        return [inferred, y, *torch.autograd.grad(y.sum(), leaves)]

    on_one = results(1)
    assert all(map(torch.equal, on_one, results(2)))
    assert all(map(torch.equal, on_one, results(5)))


def test_blocks_of_channels_are_shared_out(num_threads, monkeypatch):
    ran = []

    def noting(task: Any) -> Any:
        def noted(*arguments: Any) -> None:
            ran.append((task, threading.current_thread().name))
            time.sleep(0.1)  # long enough for the other thread to come
            task(*arguments)

        return noted

    monkeypatch.setattr(cpu, "_scan", noting(cpu._scan))
    monkeypatch.setattr(cpu_backward, "_differentiate", noting(cpu_backward._differentiate))
    num_threads(2)
    operands: dict[str, Any] = scan_operands(1, 1, 8, 384, 16, dtype=torch.float32)
    leaves = [x.requires_grad_() for x in operands.values()]
    torch.autograd.grad(selective_scan(**operands, reverse=(True,)).sum(), leaves)
    assert len(ran) == len(set(ran)) == 4


def test_averages_have_the_same_bits_on_any_number_of_threads(num_threads):
    k, v = (normal(5, 1400, 193, dtype=torch.float32, seed=seed) for seed in (1, 2))
    leaves = [x.requires_grad_() for x in (k, v, normal(193).float().abs(), normal(193).float())]

    def results(num: int) -> list[Tensor]:
        num_threads(num)
        y = bi_wkv.bi_wkv(*leaves)
        return [y, *torch.autograd.grad(y.square().sum(), leaves)]

    on_one = results(1)
    assert not any(x.is_inference() for x in on_one)
    assert all(map(torch.equal, on_one, results(4)))


def test_results_are_ordinary_tensors_outside_of_inference_mode(num_threads):
    num_threads(2)
    operands: dict[str, Any] = scan_operands(1, 5, 8, 4, 2)
    leaves = [x.requires_grad_() for x in operands.values()]
    y = selective_scan(**operands, reverse=(True,))
    gradients = torch.autograd.grad(y.sum(), leaves)
    assert not any(x.is_inference() for x in (y, *gradients))
    with torch.no_grad():
        assert not selective_scan(**operands, reverse=(True,)).requires_grad


def test_a_forked_process_has_threads_of_its_own():
    # no operator of torch's runs on several threads before, since those do not survive a fork
    program = """
import os, torch
from tests.model_zoo.kernels.drawing import scan_operands
from model_zoo.kernels.selective_scan import selective_scan
torch.set_num_threads(2)
operands = scan_operands(2, 5, 300, 20, 16, dtype=torch.float32)
scan = lambda: selective_scan(**operands, reverse=(False, True)).numpy().tobytes()
expected = scan()
child = os.fork()
if child == 0:
    os._exit(0 if scan() == expected and scan() == expected else 1)
assert os.waitpid(child, 0)[1] == 0
assert scan() == expected
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_an_interpreter_that_shuts_down_still_scans():
    program = """
import atexit, torch
from tests.model_zoo.kernels.drawing import scan_operands
from model_zoo.kernels.selective_scan import selective_scan
torch.set_num_threads(2)
operands = scan_operands(2, 5, 30, 20, 16, dtype=torch.float32)
scan = lambda: selective_scan(**operands, reverse=(False, True)).numpy().tobytes()
expected = scan()
atexit.register(lambda: print("same" if scan() == expected else "different"))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout == "same\n"
    assert not done.stderr


@pytest.mark.parametrize("in_order", [True, False])
def test_a_recurrence_is_right_whether_lists_go_in_order_or_not(in_order, monkeypatch):
    monkeypatch.setattr(_recurrence, "_lists_go_in_order", lambda: in_order)
    steps, decays, start = normal(40, 3, 2), normal(40, 3, 2, seed=1), normal(3, 2)
    expected, state = [], start
    for step, decay in zip(steps, decays, strict=True):
        state = step + decay * state
        expected.append(state)
    last = _recurrence.run(steps.unbind(0), decays.unbind(0), start)
    assert torch.allclose(steps, torch.stack(expected), rtol=0, atol=1e-12)
    assert torch.equal(last, steps[-1])


def test_torch_goes_through_lists_in_order_here():
    assert _recurrence._lists_go_in_order()
