"""One case -> one record: the case's own process, then a second one on ``meta`` for its counts.

The parent imports no torch and sleeps while a worker runs, so it takes nothing from what is timed.
"""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from vbench.core.errors import VbenchError
from vbench.core.types import SCHEMA_VERSION, Case, Outcome, Record
from vbench.measure import hardware, system
from vbench.measure.executors import Ending, Executor
from vbench.measure.request import Inspection, LargestBatch, Request, Task
from vbench.measure.search import largest_fitting

T = TypeVar("T", bound=msgspec.Struct)

GPU_MEMORY_SHARE = 0.97  # what the CUDA context leaves of a GPU's memory
TRIAL_PROBES = ("cold_start",)


class Runner:
    """Measures cases through an executor."""

    def __init__(
        self, executor: Executor, *, run_id: str, timeout_s: float, log: Path | None = None
    ) -> None:
        self.run_id = run_id
        self._executor = executor
        self._timeout_s = timeout_s
        self._log = log

    def inspect(self) -> Inspection:
        """Describe the machine as a process with torch sees it.

        Raises:
            VbenchError: That process failed.
        """
        ending, found = self._ask("inspect", Inspection)
        if found is None:
            last = ending.log.strip().rpartition("\n")[2]
            raise VbenchError(f"cannot inspect this machine: {last}")
        return found

    def measure(self, case: Case) -> Record:
        """Measure `case`; any way it ends becomes a record."""
        started_at = datetime.now(UTC)
        start_s = time.perf_counter()
        outcome = self._outcome(case)
        if case.device != "meta" and outcome.status == "ok":
            outcome = _merged(outcome, self._counts(case, outcome))
        return Record(
            schema_version=SCHEMA_VERSION,
            run_id=self.run_id,
            case_id=case.case_id,
            started_at_utc=started_at.isoformat(timespec="seconds"),
            duration_s=time.perf_counter() - start_s,
            case=case,
            status=outcome.status,
            measurements=outcome.measurements,
            environment=outcome.environment,
            batch_size=outcome.batch_size,
            notes=outcome.notes,
            error=outcome.error,
        )

    def _outcome(self, case: Case) -> Outcome:
        if case.batch_size != "auto":
            return self._run_probes(case, case.batch_size, case.probes)
        batch_size = self._largest_batch(case)
        if batch_size == 0:
            return Outcome(status="oom", error="not even one clip fits")
        return self._run_probes(case, batch_size, case.probes)

    def _run_probes(self, case: Case, batch_size: int, probes: tuple[str, ...]) -> Outcome:
        ending, outcome = self._ask(
            "measure", Outcome, case=case, batch_size=batch_size, probes=probes
        )
        return finished(ending, outcome, timeout_s=self._timeout_s)

    def _counts(self, case: Case, outcome: Outcome) -> Outcome:
        """What the meta device tells of the same point: operations, estimated memory and time."""
        name = outcome.environment.device_name if outcome.environment else ""
        twin = msgspec.structs.replace(
            case,
            device="meta",
            compile=False,
            cudagraph=False,
            gpu=name if hardware.find(name) else case.gpu,
        )
        assert outcome.batch_size is not None
        return self._run_probes(twin, outcome.batch_size, case.probes)

    def _largest_batch(self, case: Case) -> int:
        """The largest batch that fits: by estimate on meta, by trial elsewhere."""
        limit = self._memory_limit(case)
        estimate = self._estimated_largest(case, limit) if limit else 1
        if case.device == "meta":
            return estimate

        def fits(batch_size: int) -> bool:
            return self._run_probes(case, batch_size, TRIAL_PROBES).status == "ok"

        return largest_fitting(fits, guess=max(estimate, 1))

    def _estimated_largest(self, case: Case, limit: int) -> int:
        twin = msgspec.structs.replace(case, device="meta", compile=False)
        _, found = self._ask("largest_batch", LargestBatch, case=twin, memory_bytes=limit)
        return 1 if found is None or found.error else found.batch_size

    def _memory_limit(self, case: Case) -> int | None:
        if case.device == "meta":
            return int(hardware.named(case.gpu).memory_bytes * GPU_MEMORY_SHARE)
        if case.device == "cpu":
            return system.available_bytes()
        index = int(case.device.partition(":")[2] or 0)
        return int(self.inspect().memory_bytes[index] * GPU_MEMORY_SHARE)

    def _ask(
        self,
        task: Task,
        kind: type[T],
        *,
        case: Case | None = None,
        batch_size: int | None = None,
        probes: tuple[str, ...] = (),
        memory_bytes: int | None = None,
    ) -> tuple[Ending, T | None]:
        """Run one request; the answer is None if the worker wrote none."""
        with tempfile.TemporaryDirectory(prefix="vbench-") as folder:
            request = Request(
                task=task,
                outcome_path=str(Path(folder) / "outcome.json"),
                case=case,
                batch_size=batch_size,
                probes=probes,
                memory_bytes=memory_bytes,
            )
            ending = self._executor.run(request, timeout_s=self._timeout_s)
        self._keep_log(case, ending)
        if ending.outcome is None:
            return ending, None
        return ending, msgspec.json.decode(ending.outcome, type=kind)

    def _keep_log(self, case: Case | None, ending: Ending) -> None:
        """Append what a worker printed: warnings of libraries, the traceback of an error."""
        if self._log is not None and ending.log.strip():
            with self._log.open("a", encoding="utf-8") as file:
                file.write(f"== {case}\n{ending.log.rstrip()}\n")


def finished(ending: Ending, outcome: Outcome | None, *, timeout_s: float) -> Outcome:
    """The outcome as its process's ending corrects it; what was measured before is kept."""
    known = outcome or Outcome(status="error")
    if ending.exit_code is None:
        error = f"no outcome within {timeout_s:g} s"
        return msgspec.structs.replace(known, status="timeout", error=error)
    if ending.exit_code == 0 and outcome is not None:
        return outcome
    if ending.exit_code == -9 and ending.out_of_host_memory:
        error = "killed by the kernel: the machine ran out of memory"
        return msgspec.structs.replace(known, status="oom", error=error)
    return msgspec.structs.replace(known, status="error", error=_crash(ending))


def _crash(ending: Ending) -> str:
    code = ending.exit_code
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"exited {code}"
    last = ending.log.strip().rpartition("\n")[2]
    return f"the worker {how}" + (f": {last}" if last else "")


def _merged(outcome: Outcome, counts: Outcome) -> Outcome:
    """`outcome` with the counts; a count that failed is a note, never a failed measurement."""
    notes = counts.notes | outcome.notes
    if counts.status != "ok":
        notes["counting"] = f"{counts.status}: {counts.error}"
    return msgspec.structs.replace(
        outcome, measurements=outcome.measurements + counts.measurements, notes=notes
    )
