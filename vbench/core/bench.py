"""A kernel timed beside its rivals: what a line of ``results/kernels/records.jsonl`` holds.

Raw samples are kept by round, because forms are compared round by round: the median of the rounds'
own ratios does not see a machine that is slower in the afternoon.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from vbench.core import stats
from vbench.core.errors import StoreError, UsageError
from vbench.core.store import RECORDS_FILE
from vbench.core.types import Environment

BENCH_SCHEMA_VERSION: Final = 1

Role = Literal["reference", "ours", "peer", "floor", "yardstick"]


class Contender(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One form of a kernel.

    Attributes:
        role: ``reference`` is the plain or official form, ``ours`` the zoo's, ``peer`` another
            library's or another plain one; a ``floor`` does only what no form can leave out, and a
            ``yardstick`` is a part of the work done by torch, which a good form may beat.
        rounds: Of `seconds`, the round each sample was taken in.
        first_call_s: Wall time of the first call: compilation and allocation.
    """

    name: str
    role: Role
    rounds: tuple[int, ...]
    seconds: tuple[float, ...]
    first_call_s: float


class KernelRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kernel at one size: all forms, timed in turns.

    Attributes:
        sizes: By name, such as ``num_tokens``.
        clock: What a second is: ``cpu`` time of one thread, ``wall`` time or ``cuda`` events.
    """

    schema_version: int
    started_at_utc: str
    kernel: str
    sizes: dict[str, int]
    device: str
    num_threads: int
    clock: Literal["cpu", "wall", "cuda"]
    contenders: tuple[Contender, ...]
    environment: Environment

    def of_role(self, role: Role) -> list[Contender]:
        """Contenders of one role, in the order they were given."""
        return [one for one in self.contenders if one.role == role]

    def best(self) -> Contender | None:
        """The fastest of ours."""
        ours = self.of_role("ours")
        return min(ours, key=lambda one: stats.median(one.seconds)) if ours else None

    def floor(self) -> Contender | None:
        """The highest floor: what binds."""
        floors = self.of_role("floor")
        return max(floors, key=lambda one: stats.median(one.seconds)) if floors else None


def ratio(numerator: Contender, denominator: Contender) -> float | None:
    """Median of the ratios of the rounds that both took part in; None if there is none."""
    above = dict(zip(numerator.rounds, numerator.seconds, strict=True))
    below = dict(zip(denominator.rounds, denominator.seconds, strict=True))
    found = [above[i] / below[i] for i in above.keys() & below.keys() if below[i] > 0]
    return stats.median(found) if found else None


def read(run_dir: Path) -> list[KernelRecord]:
    """Records of a folder; none if there is no file.

    Raises:
        UsageError: It holds others, or those of another schema.
        StoreError: The file cannot be read.
    """
    path = run_dir / RECORDS_FILE
    try:
        lines = path.read_bytes().splitlines()
        records = [msgspec.json.decode(line, type=KernelRecord) for line in lines]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError:
        raise UsageError(
            f"these are no records of kernels: {path}", hint="name another folder with --out"
        ) from None
    stale = {one.schema_version for one in records} - {BENCH_SCHEMA_VERSION}
    if stale:
        raise UsageError(f"{path} has schema {stale.pop()}, not: {BENCH_SCHEMA_VERSION}")
    return records
