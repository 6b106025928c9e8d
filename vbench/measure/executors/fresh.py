"""A new interpreter a case: slower to start, and nothing is inherited from a parent."""

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from vbench.core import processes
from vbench.measure.executors import EXECUTORS, Ending
from vbench.measure.request import Request


class FreshExecutor:
    """Runs each request as ``python -m vbench.measure.worker``."""

    def run(self, request: Request, *, timeout_s: float) -> Ending:
        """Start an interpreter for `request` and wait for it, at most `timeout_s`."""
        kills_before = processes.num_oom_kills()
        with tempfile.TemporaryDirectory(prefix="vbench-") as folder:
            log = Path(folder) / "log"
            with log.open("wb") as output:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "vbench.measure.worker"],
                    env=processes.worker_environment(),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                exit_code = _wait(worker, msgspec.json.encode(request) + b"\n", timeout_s)
            return Ending(
                exit_code=exit_code,
                outcome=processes.read_if_written(Path(request.outcome_path)),
                log=processes.tail(log),
                out_of_host_memory=processes.num_oom_kills() > kills_before,
            )

    def close(self) -> None:
        """Nothing is left between requests."""


def _wait(worker: subprocess.Popen[bytes], request: bytes, timeout_s: float) -> int | None:
    try:
        worker.communicate(request, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        processes.kill_group(worker.pid)
        worker.wait()
        return None
    except BaseException:  # Ctrl-C: leave nothing running
        processes.kill_group(worker.pid)
        worker.wait()
        raise
    return worker.returncode


EXECUTORS.add("fresh", FreshExecutor)
