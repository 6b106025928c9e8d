"""A model on a dataset, to the end: resume, run in a process of its own, keep every video.

The parent imports no torch of its own accord and does nothing while the worker runs but append what
it sends. A video's record is on the disk before it is reported, so an evaluation that is killed
goes on where it was, and ends as if it had not been.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from vbench.accuracy.datasets import Video
from vbench.accuracy.evaluation import (
    EVALUATION_FILE,
    LOG_FILE,
    VIDEOS_FILE,
    Batch,
    EvalRequest,
    EvalSpec,
    Failed,
    Finished,
    Loaded,
    Message,
)
from vbench.accuracy.planning import Plan
from vbench.accuracy.types import SCHEMA_VERSION, VideoRecord
from vbench.core import processes, store
from vbench.core.errors import UnavailableError, UsageError, VbenchError

DECODE_TIMEOUT_S: Final = 120.0


class Evaluation:
    """An evaluation opened for running: what is done, what is left, the folder."""

    def __init__(self, plan: Plan, run_dir: Path, writer: store.RunWriter) -> None:
        self.plan = plan
        self.run_dir = run_dir
        self.loaded: Loaded | None = None
        self._writer = writer
        stored, self.torn_lines = read_videos(run_dir)
        self._records = {record.key: record for record in stored}

    @property
    def records(self) -> list[VideoRecord]:
        """What is done, in the order of the plan."""
        return [self._records[v.key] for v in self.plan.videos if v.key in self._records]

    @property
    def pending(self) -> list[tuple[Video, ...]]:
        """Batches that are not wholly done; a batch is computed again whole."""
        done = self._records.keys()
        return [b for b in self.plan.batches if any(video.key not in done for video in b)]

    def run(
        self, *, num_workers: int | None = None, timeout_s: float = DECODE_TIMEOUT_S
    ) -> Generator[VideoRecord, None, None]:
        """Evaluate what is pending; each record is on the disk before it is yielded.

        Raises:
            VbenchError: The worker says, or its end says, that it cannot go on.
        """
        if not self.pending:
            return
        request = EvalRequest(
            spec=self.plan.spec,
            root=str(self.plan.asked.folder.resolve()),
            checkpoint_path=str(self.plan.asked.checkpoint) if self.plan.asked.checkpoint else None,
            batches=tuple(self.pending),
            num_workers=num_workers or default_workers(),
            timeout_s=timeout_s,
        )
        with contextlib.closing(_messages(request, self.run_dir / LOG_FILE)) as messages:
            for message in messages:
                if isinstance(message, Loaded):
                    self.loaded = message
                elif isinstance(message, Batch):
                    yield from self._kept(message.records)
                elif isinstance(message, Failed):
                    raise _error_of(message)

    def _kept(self, records: Sequence[VideoRecord]) -> Sequence[VideoRecord]:
        new = [record for record in records if record.key not in self._records]
        self._writer.append(*new)
        self._records |= {record.key: record for record in new}
        return new


@contextlib.contextmanager
def opened(plan: Plan, run_dir: Path) -> Iterator[Evaluation]:
    """Open `run_dir` for this evaluation alone.

    Raises:
        UsageError: Another process writes there, or it holds another evaluation.
        StoreError: It cannot be written.
    """
    with store.RunWriter(run_dir, file=VIDEOS_FILE, task="evaluation") as writer:
        header = run_dir / EVALUATION_FILE
        if header.exists():
            other = read_spec(run_dir)
            if other.eval_id != plan.spec.eval_id:
                raise UsageError(
                    f"{run_dir} holds another evaluation: {_difference(other, plan.spec)}",
                    hint="write elsewhere with --out",
                )
        else:
            store.write_text(header, msgspec.json.format(msgspec.json.encode(plan.spec)).decode())
        yield Evaluation(plan, run_dir, writer)


def _difference(other: EvalSpec, wanted: EvalSpec) -> str:
    for name in EvalSpec.__struct_fields__:
        there, here = getattr(other, name), getattr(wanted, name)
        if there != here:
            return f"its {name} is {str(there)[:60]}, wanted: {str(here)[:60]}"
    return "of another version"


def read_spec(run_dir: Path) -> EvalSpec:
    """What was evaluated in a folder.

    Raises:
        UsageError: No evaluation is there, or one of another version.
    """
    path = run_dir / EVALUATION_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=EvalSpec)
    except FileNotFoundError:
        raise UsageError(f"no evaluation at: {path}", hint="`vbench eval` writes one") from None
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def read_videos(run_dir: Path) -> tuple[list[VideoRecord], list[int]]:
    """Records of a folder, and the numbers of torn lines."""
    try:
        return store.read_lines(run_dir / VIDEOS_FILE, VideoRecord, schema_version=SCHEMA_VERSION)
    except FileNotFoundError:
        return [], []


def default_workers() -> int:
    """Decoding processes: every processor but one, which feeds the device."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max((usable or 1) - 1, 1)


def _messages(request: EvalRequest, log: Path) -> Generator[Message, None, None]:
    """What the evaluating process sends, until it says that it is done.

    Raises:
        VbenchError: It ends without saying so.
    """
    receive, send = os.pipe()
    with log.open("ab") as output, os.fdopen(receive, "rb") as pipe:
        worker = subprocess.Popen(
            [sys.executable, "-m", "vbench.accuracy.entry", str(send)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[send],
            env=processes.worker_environment(),
            start_new_session=True,
        )
        os.close(send)
        try:
            assert worker.stdin is not None
            _hand_over(worker.stdin, msgspec.json.encode(request))
            for line in pipe:
                message = msgspec.json.decode(line, type=Message)
                yield message
                if isinstance(message, Finished | Failed):
                    return
            code = worker.wait()
        finally:
            processes.kill_group(worker.pid)
            worker.wait()
    last = processes.tail(log).strip().rpartition("\n")[2]
    raise VbenchError(
        f"the evaluating process ended with {code}: {last}",
        hint=f"its log is {log}; the same command goes on",
    )


def _hand_over(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:  # it has just ended: the log says why
        pipe.write(data)


def _error_of(message: Failed) -> VbenchError:
    kinds = {"usage": UsageError, "unavailable": UnavailableError, "error": VbenchError}
    return kinds[message.kind](message.message, hint=message.hint)
