"""A spec run to its end: resume, measure, store after every case, stop climbing after a failure."""

import contextlib
import hashlib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import tomli_w

import model_zoo
from vbench.core import plan, store
from vbench.core import spec as spec_files
from vbench.core.errors import UnavailableError, UsageError
from vbench.core.types import SCHEMA_VERSION, BenchSpec, Case, Record
from vbench.measure import system
from vbench.measure.executors import EXECUTORS, Executor
from vbench.measure.request import Inspection
from vbench.measure.runner import Runner

SPEC_FILE = "spec.toml"
LOG_FILE = "log.txt"

# What the same command would only find again. Errors and timeouts are worth another try.
FINAL: Final = frozenset({"ok", "oom", "unsupported"})


def resolved(spec: BenchSpec) -> BenchSpec:
    """`spec` with patterns replaced by the models they match.

    Raises:
        UsageError: A name or a pattern matches no model.
    """
    names: dict[str, None] = {}
    for pattern in spec.models:
        if any(character in pattern for character in "*?["):
            matches = model_zoo.list_models(pattern)
            if not matches:
                raise UsageError(f"no model matches: {pattern}", hint="`vbench models` lists all")
        else:
            matches = [entry_of(pattern).name]
        names |= dict.fromkeys(matches)
    return msgspec.structs.replace(spec, models=tuple(names))


def entry_of(name: str) -> model_zoo.ModelEntry:
    """What the zoo knows of `name`.

    Raises:
        UsageError: No such model; suggests the nearest.
    """
    try:
        return model_zoo.model_entry(name)
    except model_zoo.ZooError as error:
        raise UsageError(str(error), hint=error.hint) from None


def chosen_device(asked: str, machine: Inspection) -> str:
    """The device that ``auto`` and ``cuda`` stand for on this machine.

    Raises:
        UnavailableError: CUDA was asked for and this device is not there; says why.
    """
    if asked == "auto":
        return "cuda:0" if machine.devices else "cpu"
    if not asked.startswith("cuda"):
        return asked
    index = int(asked.partition(":")[2] or 0)
    if index < len(machine.devices):
        return f"cuda:{index}"
    if machine.devices:
        reason = f"this machine has {len(machine.devices)}: {', '.join(machine.devices)}"
    elif machine.cuda_version is None:
        reason = f"torch {machine.torch} is built without CUDA"
    else:
        reason = f"torch {machine.torch} sees no device"
    raise UnavailableError(
        f"no CUDA device {index}: {reason}",
        hint="use --device cpu to measure small inputs, --device meta to estimate any",
    )


class Run:
    """A spec opened for measuring: its cases, what an earlier run has settled, the run folder."""

    def __init__(
        self,
        *,
        spec: BenchSpec,
        run_dir: Path,
        cases: list[Case],
        stored: store.Stored,
        runner: Runner,
        writer: store.RunWriter,
        run_id: str,
    ) -> None:
        self.spec = spec
        self.run_dir = run_dir
        self.cases = cases
        self.torn_lines = stored.torn_lines
        self._records = store.latest(stored.records)
        self._runner = runner
        self._writer = writer
        self._run_id = run_id

    @property
    def pending(self) -> list[Case]:
        """Cases still to measure, in order."""
        return [
            case
            for case in self.cases
            if case.case_id not in self._records or self._records[case.case_id].status not in FINAL
        ]

    @property
    def records(self) -> list[Record]:
        """The latest record of each case of this spec that has one, in the spec's order."""
        ids = [case.case_id for case in self.cases]
        return [self._records[case_id] for case_id in ids if case_id in self._records]

    def measure(self) -> Iterator[Record]:
        """Measure what is pending; each record is on the disk before it is yielded."""
        for case in self.pending:
            record = self._skipped(case) or self._runner.measure(case)
            self._writer.append(record)
            self._records[record.case_id] = record
            yield record

    def _skipped(self, case: Case) -> Record | None:
        """A record instead of a measurement, where a smaller case did not fit."""
        too_large = (record.case for record in self.records if record.status == "oom")
        smaller = next((other for other in too_large if plan.dominates(case, other)), None)
        if not self.spec.prune or smaller is None:
            return None
        return Record(
            schema_version=SCHEMA_VERSION,
            run_id=self._run_id,
            case_id=case.case_id,
            started_at_utc=system.now_utc(),
            duration_s=0.0,
            case=case,
            status="oom",
            error=f"not run: less did not fit ({smaller})",
        )


def asked_for(source: str | None, flags: dict[str, Any], *, name: str | None) -> BenchSpec:
    """The spec of a file or a built-in name, with flags in the place of its keys.

    Args:
        source: File or built-in name; None for flags alone.
        flags: Keys of a spec.
        name: Of the run; a run of flags alone is named by their content.

    Raises:
        UsageError: The spec cannot be read, or a key or value is wrong.
    """
    table = (spec_files.load(source) if source else {}) | flags
    if source is None and "models" not in table:
        raise UsageError(
            "nothing to sweep: name a spec or a model",
            hint=f"built-in specs: {', '.join(spec_files.builtin_specs())}; models: --model NAME",
        )
    content = hashlib.sha256(msgspec.json.encode(table, order="sorted")).hexdigest()[:8]
    default = Path(source).stem if source else f"sweep-{content}"
    table["name"] = name or table.get("name", default)
    return resolved(spec_files.parse(table, source=source or "options"))


def demo_spec(executor: Executor) -> str:
    """Name of the built-in spec that shows most on this machine in about a minute."""
    with runner_for(BenchSpec(name="demo", models=("none",)), executor=executor) as runner:
        return "figure1_gpu" if runner.inspect().devices else "demo"


@contextlib.contextmanager
def opened(spec: BenchSpec, run_dir: Path, *, executor: Executor | None = None) -> Iterator[Run]:
    """Open `run_dir` for `spec` alone, with a process to measure in.

    Args:
        spec: What to measure.
        run_dir: Its folder.
        executor: One that serves several runs; None for one of this run's own.

    Raises:
        UsageError: Another sweep writes there, or it holds another device's measurements.
        UnavailableError: The device is not there.
        StoreError: The folder cannot be written.
    """
    with (
        store.RunWriter(run_dir) as writer,
        runner_for(spec, log=run_dir / LOG_FILE, executor=executor) as runner,
    ):
        stored = store.read(run_dir)
        machine = runner.inspect() if spec.device != "meta" else None
        device = "meta" if machine is None else chosen_device(spec.device, machine)
        if machine is not None:
            refuse_other_device(run_dir, stored.records, device_name_of(device, machine))
        text = tomli_w.dumps(_without_none(msgspec.to_builtins(spec)))
        store.write_text(run_dir / SPEC_FILE, text)
        yield Run(
            spec=spec,
            run_dir=run_dir,
            cases=plan.expand(spec, entry_of, device=device),
            stored=stored,
            runner=runner,
            writer=writer,
            run_id=runner.run_id,
        )


@contextlib.contextmanager
def runner_for(
    spec: BenchSpec, *, log: Path | None = None, executor: Executor | None = None
) -> Iterator[Runner]:
    """A runner as the spec wants it, whose own processes end with the block."""
    chosen = EXECUTORS[spec.isolation]() if executor is None else executor
    run_id = uuid.uuid4().hex[:12]
    try:
        yield Runner(chosen, run_id=run_id, timeout_s=spec.timeout_s, log=log)
    finally:
        if executor is None:
            chosen.close()


def planned(spec: BenchSpec) -> list[Case]:
    """The cases of `spec`; a device that depends on the machine is asked of it."""
    if spec.device in ("cpu", "meta"):
        return plan.expand(spec, entry_of, device=spec.device)
    with runner_for(spec) as runner:
        return plan.expand(spec, entry_of, device=chosen_device(spec.device, runner.inspect()))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def refuse_other_device(run_dir: Path, records: Iterable[Record], device_name: str) -> None:
    """Keep one folder to one device, so that no curve mixes two.

    Raises:
        UsageError: The folder holds measurements of another device.
    """
    for record in records:
        other = record.environment.device_name if record.environment else device_name
        if record.case.device != "meta" and other != device_name:
            raise UsageError(
                f"{run_dir} holds measurements of {other}, this machine has: {device_name}",
                hint="write elsewhere with --out",
            )


def device_name_of(device: str, machine: Inspection) -> str:
    """What records call `device`."""
    if device.startswith("cuda"):
        return machine.devices[int(device.partition(":")[2])]
    return machine.cpu_model
