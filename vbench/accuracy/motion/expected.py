"""What the shipped weights score, so that who trains a model anew is told how it compares.

Written by ``python -m vbench.accuracy.motion.expected RUN...`` from evaluations of those weights,
and of weights trained in the same way from other seeds: two trainings differ by more than the
clips that happen to be in the list.
"""

import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

import model_zoo
from vbench.accuracy.metrics import Score
from vbench.accuracy.motion import seeds
from vbench.core import evaluations, store
from vbench.core.errors import UsageError

FILE: Final = "expected.json"
JUDGED: Final = (("verb", "direction"), ("verb", "top1"), ("noun", "top1"))


class Expected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One score of the shipped weights of a model, with its 95 % interval.

    Attributes:
        num_trainings: Of this model, the shipped one among them.
        retrained_low: 95 % prediction interval of one more training; `retrained_high` its end.
    """

    model: str
    list_sha256: str
    head: str
    metric: str
    value: float
    low: float
    high: float
    num_videos: int
    num_trainings: int
    retrained_low: float
    retrained_high: float


class Judgement(Struct, frozen=True, kw_only=True):
    """A score beside the shipped weights' own."""

    head: str
    metric: str
    value: float
    expected: Expected

    @property
    def is_inside(self) -> bool:
        """Whether it lies where one more training is expected."""
        return self.expected.retrained_low <= self.value <= self.expected.retrained_high

    def __str__(self) -> str:
        own = self.expected
        words = "inside" if self.is_inside else "outside"
        low, high = 100 * own.retrained_low, 100 * own.retrained_high
        return (
            f"{self.head} {self.metric} of the shipped weights: {100 * own.value:.2f} % "
            f"({100 * own.low:.2f} to {100 * own.high:.2f}); another training should lie within "
            f"{low:.2f} to {high:.2f}, this one lies {words}"
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
        if (s.head, s.metric) in known and is_of_the_list(s)
    ]


def from_runs(run_dirs: Iterable[Path]) -> list[Expected]:
    """The scores to be expected, of evaluations of shipped weights and of other trainings.

    Raises:
        UsageError: A folder has no summary, a model no evaluation of its shipped weights, or no
            model was trained twice.
    """
    trainings: dict[tuple[str, str, str], dict[str, list[tuple[bool, evaluations.Score]]]] = {}
    for summary in map(evaluations.read_summary, run_dirs):
        spec = summary.spec
        is_shipped = spec.checkpoint_sha256 == _shipped_sha256(spec.model)
        for score in summary.scores:
            if (score.head, score.metric) in JUDGED and is_of_the_list(score):
                of_score = trainings.setdefault((spec.list_sha256, score.head, score.metric), {})
                of_score.setdefault(spec.model, []).append((is_shipped, score))
    found = [one for key, models in trainings.items() for one in _expected(key[0], models)]
    return sorted(
        found, key=lambda one: (one.list_sha256, one.model, JUDGED.index((one.head, one.metric)))
    )


def is_of_the_list(score: Score | evaluations.Score) -> bool:
    """Whether it is of all clips as they are: no slice, no control."""
    return score.videos == "decoded" and not score.condition


def _shipped_sha256(model: str) -> str | None:
    path = model_zoo.shipped_checkpoint(model)
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _expected(
    list_sha256: str, trainings: Mapping[str, Sequence[tuple[bool, evaluations.Score]]]
) -> Iterator[Expected]:
    shipped = {model: _shipped_one(model, taken) for model, taken in trainings.items()}
    predicted = seeds.predicted(
        {model: [score.value for _, score in taken] for model, taken in trainings.items()}
    )
    for model, own in shipped.items():
        low, high = predicted[model]
        yield Expected(
            model=model,
            list_sha256=list_sha256,
            head=own.head,
            metric=own.metric,
            value=own.value,
            low=own.interval.low,
            high=own.interval.high,
            num_videos=own.num_videos,
            num_trainings=len(trainings[model]),
            retrained_low=low,
            retrained_high=high,
        )


def _shipped_one(model: str, taken: Sequence[tuple[bool, evaluations.Score]]) -> evaluations.Score:
    own = next((score for is_shipped, score in taken if is_shipped), None)
    if own is None:
        raise UsageError(
            f"no run is of the shipped weights of {model}",
            hint=f"`vbench eval {model}` scores them",
        )
    return own


def main(run_dirs: Sequence[str]) -> None:
    """Write the file from evaluations."""
    found = from_runs(map(Path, run_dirs))
    text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
    store.write_text(Path(__file__).with_name(FILE), text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
