"""Published claims as files: what was printed, what would show it, and who judges.

A claim is ``vbench/claims/<name>.toml``. Its sweeps are specs of points that a judge of
`vbench.report.claims` reads; each may change on a GPU, where its numbers are measured.
"""

import tomllib
from difflib import get_close_matches
from importlib import resources
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from vbench.core import spec as spec_files
from vbench.core.errors import UsageError
from vbench.core.types import BenchSpec

Name = Annotated[str, Meta(pattern=r"^[a-z0-9_]+$")]


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One assertion of a claim, which gets a verdict of its own.

    Attributes:
        says: In words; as printed where that is in quotes.
        claimed: The numbers it prints, by what its judge calls them.
    """

    name: Name
    says: str
    claimed: dict[str, float] = {}


class ClaimSweep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Points that a claim needs.

    Attributes:
        spec: Built-in spec to start from, if any.
        grid: Keys of a spec that come in the place of its own.
        on_cuda: Further ones where a GPU measures the points: what fits it.
        on_meta: Whether a GPU does not matter: what is counted, or is about another GPU.
    """

    name: Name
    spec: str | None = None
    grid: dict[str, Any] = {}
    on_cuda: dict[str, Any] = {}
    on_meta: bool = False


class PublishedPoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An accuracy as printed, at the input and number of views it was printed for.

    Attributes:
        model: That the zoo counts the cost of.
        printed_gmacs: What was printed as GFLOPs of one view; None where nothing was.
        size_px: Side that the cost is counted at.
    """

    model: str
    top1_percent: float
    pretraining: str
    num_frames: int
    size_px: int
    num_views: int
    source: str
    printed_gmacs: float | None = None
    note: str = ""


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published claim.

    Attributes:
        statement: As printed, or as it was read elsewhere: then `note` says so.
        judge: Name of the function that turns points into verdicts.
        published: Accuracies that it rests on.
        groups: Models by what the claim says of them.
        order: Claims of a report go from the lowest to the highest.
    """

    name: Name
    title: str
    statement: str
    source: str
    judge: str
    parts: Annotated[tuple[Part, ...], Meta(min_length=1)]
    sweeps: Annotated[tuple[ClaimSweep, ...], Meta(min_length=1)]
    note: str = ""
    published: tuple[PublishedPoint, ...] = ()
    groups: dict[str, tuple[str, ...]] = {}
    order: int = 50

    def part(self, name: str) -> Part:
        """The part of that name."""
        return next(part for part in self.parts if part.name == name)


def claim_names() -> list[str]:
    """Names of all claims."""
    return sorted(name.removesuffix(".toml") for name in _files())


def load_claims(names: list[str]) -> list[Claim]:
    """The claims of these names, or all.

    Raises:
        UsageError: There is none of a name.
    """
    known = claim_names()
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known)}"
            raise UsageError(f"unknown claim: {name}", hint=hint)
    claims = [_load(name) for name in dict.fromkeys(names or known)]
    return sorted(claims, key=lambda claim: (claim.order, claim.name))


def _load(name: str) -> Claim:
    table = tomllib.loads(_files()[f"{name}.toml"])
    return msgspec.convert({"name": name} | table, Claim)


def _files() -> dict[str, str]:
    folder = resources.files("vbench") / "claims"
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }


def spec_of(claim: Claim, sweep: ClaimSweep, *, device: str) -> BenchSpec:
    """The spec that a sweep stands for on `device`: ``meta`` or a CUDA device.

    Raises:
        UsageError: A key or a value is wrong.
    """
    table = spec_files.load(sweep.spec) if sweep.spec else {}
    table |= sweep.grid
    if device == "meta" or sweep.on_meta:
        table["device"] = "meta"
    else:
        table |= sweep.on_cuda | {"device": device}
        table.pop("gpu", None)
    table |= {"name": run_name(sweep, device=device), "title": f"{claim.title}: {sweep.name}"}
    return spec_files.parse(table, source=f"claim {claim.name}, sweep {sweep.name}")


def run_name(sweep: ClaimSweep, *, device: str) -> str:
    """Name of the run's folder: estimates and measurements lie apart."""
    is_measured = device != "meta" and not sweep.on_meta
    return f"{sweep.name}_measured" if is_measured else sweep.name
