"""What the shipped weights score, so that who trains a model anew is told how it compares.

Written by ``python -m vbench.accuracy.motion.expected RUN...`` from evaluations of those weights.
"""

import functools
import sys
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from vbench.accuracy.metrics import Score
from vbench.core import evaluations, store

FILE: Final = "expected.json"
JUDGED: Final = (("verb", "direction"), ("verb", "top1"), ("noun", "top1"))


class Expected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One score of the shipped weights of a model, with its 95 % interval."""

    model: str
    list_sha256: str
    head: str
    metric: str
    value: float
    low: float
    high: float
    num_videos: int


class Judgement(Struct, frozen=True, kw_only=True):
    """A score beside the shipped weights' own."""

    head: str
    metric: str
    value: float
    expected: Expected

    @property
    def is_inside(self) -> bool:
        """Whether it lies in the interval of the shipped weights."""
        return self.expected.low <= self.value <= self.expected.high

    def __str__(self) -> str:
        own = self.expected
        words = "inside" if self.is_inside else "outside"
        return (
            f"{self.head} {self.metric} of the shipped weights: {100 * own.value:.2f} %, "
            f"{100 * own.low:.2f} to {100 * own.high:.2f}; this one lies {words}"
        )


@functools.cache
def expected() -> tuple[Expected, ...]:
    """Every score that is known."""
    data = (resources.files("vbench.accuracy.motion") / FILE).read_bytes()
    return msgspec.json.decode(data, type=tuple[Expected, ...])


def judge(model: str, list_sha256: str, scores: Iterable[Score]) -> list[Judgement]:
    """Set scores on a whole list beside those of the shipped weights on the same list."""
    known = {
        (e.head, e.metric): e
        for e in expected()
        if e.model == model and e.list_sha256 == list_sha256
    }
    return [
        Judgement(head=s.head, metric=s.metric, value=s.value, expected=known[s.head, s.metric])
        for s in scores
        if (s.head, s.metric) in known and s.videos == "decoded" and not s.condition
    ]


def read_run(run_dir: Path) -> list[Expected]:
    """The scores to be expected, of an evaluation of shipped weights.

    Raises:
        UsageError: The folder has no summary.
    """
    found = evaluations.read_summary(run_dir)
    return [
        Expected(
            model=found.spec.model,
            list_sha256=found.spec.list_sha256,
            head=score.head,
            metric=score.metric,
            value=score.value,
            low=score.interval.low,
            high=score.interval.high,
            num_videos=score.num_videos,
        )
        for score in found.scores
        if (score.head, score.metric) in JUDGED
        and score.videos == "decoded"
        and not score.condition
    ]


def main(run_dirs: Sequence[str]) -> None:
    """Write the file from evaluations."""
    found = [one for run_dir in sorted(run_dirs) for one in read_run(Path(run_dir))]
    text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
    store.write_text(Path(__file__).with_name(FILE), text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
