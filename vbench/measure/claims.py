"""Where the points of a claim are taken, and whether the zoo has its models."""

from contextlib import AbstractContextManager
from pathlib import Path

import model_zoo
from vbench.core.claims import Claim, ClaimSweep, run_name, spec_of
from vbench.core.errors import UsageError
from vbench.core.types import BenchSpec
from vbench.measure.sweep import Run, chosen_device, opened, resolved, runner_for


def device_for(asked: str) -> str:
    """The device that claims are tested on: a GPU if there is one, else ``meta``.

    Raises:
        UsageError: A CPU was asked for.
        UnavailableError: The GPU asked for is not there.
    """
    if asked == "cpu":
        raise UsageError(
            "claims speak of GPUs: a CPU's memory and time say nothing of them",
            hint="--device meta estimates them, --device cuda measures them",
        )
    if asked == "meta":
        return asked
    with runner_for(BenchSpec(name="claims", models=("none",), device=asked)) as runner:
        device = chosen_device(asked, runner.inspect())
    return "meta" if device == "cpu" else device


def missing_models(claim: Claim) -> list[str]:
    """Models of the claim that this zoo lacks."""
    specs = [spec_of(claim, sweep, device="meta") for sweep in claim.sweeps]
    names = dict.fromkeys(name for spec in specs for name in spec.models)
    return [name for name in names if not _exists(name)]


def _exists(name: str) -> bool:
    try:
        model_zoo.model_entry(name)
    except model_zoo.ZooError:
        return False
    return True


def run_dir_of(claim: Claim, sweep: ClaimSweep, *, device: str, results: Path) -> Path:
    """Folder of a sweep's records."""
    return results / "claims" / claim.name / run_name(sweep, device=device)


def opened_sweep(
    claim: Claim, sweep: ClaimSweep, *, device: str, results: Path
) -> AbstractContextManager[Run]:
    """Open one sweep of a claim for measuring; what is settled stays.

    Raises:
        VbenchError: As `vbench.measure.sweep.opened`.
    """
    spec = resolved(spec_of(claim, sweep, device=device))
    return opened(spec, run_dir_of(claim, sweep, device=device, results=results))
