"""A recurrent module is counted for every call and run for few of them."""

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo.lcr import LCR
from tests.measure.counting.test_exact import built
from tests.model_zoo.test_lcr import macs_of
from vbench.measure.counting.exact import count_operations
from vbench.measure.counting.remembering import RememberedResults


class Cell(nn.Module):
    """Mixes a frame into a state."""

    def __init__(self) -> None:
        super().__init__()
        self.from_frame = nn.Linear(4, 4)
        self.from_state = nn.Linear(4, 4)
        self.num_runs = 0

    def forward(self, frame: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.num_runs += 1
        state = torch.tanh(self.from_frame(frame) + self.from_state(states[0]))
        return state, state + states[1]


class Recurrent(nn.Module):
    """A cell over the frames (B, T, 4)."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, frames: Tensor) -> Tensor:
        states = (frames.new_zeros(frames[:, 0].shape),) * 2
        for frame in frames.unbind(1):
            states = self.cell(frame, states)
        return states[1]


def counted(model: nn.Module, frames: Tensor, *, grad: bool = False) -> float:
    def step() -> None:
        with torch.set_grad_enabled(grad):
            model(frames)

    return count_operations(model, step).macs


def frames_of(num_frames: int) -> Tensor:
    return torch.empty(2, num_frames, 4, device="meta")


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 50])
def test_every_call_is_counted_and_three_are_run(num_frames):
    cell = Cell().to("meta")
    assert counted(Recurrent(cell), frames_of(num_frames)) == num_frames * 2 * 2 * 16
    assert cell.num_runs <= 3


def test_more_calls_dispatch_no_more_operators(monkeypatch):
    dispatched: list[Any] = []
    run = RememberedResults.run

    def noted(self: RememberedResults, operator: Any, args: Any, kwargs: Any) -> Any:
        dispatched.append(operator)
        return run(self, operator, args, kwargs)

    monkeypatch.setattr(RememberedResults, "run", noted)
    model = Recurrent(Cell()).to("meta")
    numbers = []
    for num_frames in (5, 50):
        dispatched.clear()
        counted(model, frames_of(num_frames))
        numbers.append(len(dispatched))
    assert numbers[0] == numbers[1] > 0


def test_where_a_backward_pass_may_follow_every_call_is_run():
    cell = Cell().to("meta")
    assert counted(Recurrent(cell), frames_of(9), grad=True) == 9 * 2 * 2 * 16
    assert cell.num_runs == 9


def test_inputs_of_another_size_are_another_kind():
    cell = Cell().to("meta")

    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, frames: Tensor) -> Tensor:
            for batch in (1, 2) * 10:
                part = frames[:batch, 0]
                self.cell(part, (part, part))
            return frames

    assert counted(Growing(), frames_of(1)) == 10 * 3 * 2 * 16


class Remembering(nn.Module):
    """Reads all frames so far: each call costs more than the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.past: list[Tensor] = []

    def forward(self, frame: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.past.append(frame)
        past = torch.stack(self.past, dim=1)  # (B, t, 4)
        scores = past @ frame.unsqueeze(2)
        return (past * scores).sum(1), states[1] + frame


def test_a_module_whose_state_makes_a_difference_is_run_every_time():
    expected = sum(2 * t * 4 for t in range(1, 21))
    assert counted(Recurrent(Remembering()), frames_of(20)) == expected


class Passing(nn.Module):
    """Gives one of its inputs back."""

    def forward(self, frame: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return states[0], states[0]


def test_results_that_are_not_new_tensors_are_not_made_anew():
    model = Recurrent(Passing())
    kept: list[Tensor] = []

    def step() -> None:
        with torch.no_grad():
            kept.extend(Passing()(model(frames_of(9)), (frames_of(1), frames_of(1))))

    count_operations(model, step)
    assert kept[0] is kept[1]


def test_modules_are_called_as_before_afterwards():
    call = nn.Module.__call__
    with pytest.raises(TypeError):
        count_operations(nn.Linear(2, 2), lambda: nn.Linear(2, 2)(None))
    assert nn.Module.__call__ is call


@pytest.mark.parametrize("num_frames", [16, 128])
def test_a_long_video_is_counted_at_once(num_frames):
    count_operations((first := built("lcr_jester", 2, 1)).model, first.step)
    at = built("lcr_jester", num_frames, 1)
    start_s = time.process_time()
    count = count_operations(at.model, at.step)
    assert time.process_time() - start_s < 1.0
    assert isinstance(at.model, LCR)
    assert count.macs == macs_of(at.model, num_frames, 224)[0]
    assert not count.not_counted
