"""One point, measured and counted by everything there is."""

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vbench.core import plan, spec, store
from vbench.core.errors import UsageError
from vbench.core.types import Record
from vbench.measure.sweep import chosen_device, entry_of, resolved, runner_for

ALL_PROBES = ("all",)


def profile_one(model: str, table: dict[str, Any], *, out: Path | None = None) -> Record:
    """Measure one point of one model.

    Args:
        model: Its name.
        table: Keys of a spec; what is left out is the spec's default.
        out: Run folder to append the record to.

    Raises:
        UsageError: The request is wrong, or asks for more than one point.
        UnavailableError: The device is not there.
        StoreError: `out` cannot be written.
    """
    asked = resolved(
        spec.parse(
            {"probes": ALL_PROBES, "name": "profile", "models": [model]} | table, source="options"
        )
    )
    with runner_for(asked) as runner, _writer(out) as writer:
        device = asked.device
        if device != "meta":
            device = chosen_device(device, runner.inspect())
        cases = plan.expand(asked, entry_of, device=device)
        if len(cases) != 1:
            raise UsageError(
                f"profile measures one point, this asks for: {len(cases)}",
                hint="`vbench sweep` takes lists",
            )
        record = runner.measure(cases[0])
        if writer is not None:
            writer.append(record)
        return record


def _writer(run_dir: Path | None) -> AbstractContextManager[store.RunWriter | None]:
    return contextlib.nullcontext() if run_dir is None else store.RunWriter(run_dir)
