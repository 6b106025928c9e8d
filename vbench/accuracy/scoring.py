"""Outputs of all views of a video -> what each head says of it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from vbench.accuracy.label_space import NO_OUTPUT
from vbench.accuracy.protocols import Aggregate
from vbench.accuracy.types import ACTION, NOUN_BASE, NUM_TOP, HeadScore

PAIR: Final = ("verb", "noun")
Logits = NDArray[np.float64]  # (V, num_classes)


def score_heads(
    outputs: Mapping[str, NDArray[np.floating]],
    columns: Mapping[str, Sequence[int]],
    labels: Mapping[str, int],
    aggregate: Aggregate,
    reversals: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> dict[str, HeadScore]:
    """Score every head, and the action that a verb and a noun head make.

    Args:
        outputs: Logits (V, num_outputs) of each head.
        columns: For each class of the dataset, the output that stands for it.
        labels: True class of each head.
        aggregate: How views become one answer.
        reversals: For a head, what each class becomes if time is reversed, or -1.
    """
    logits = {head: _of_classes(outputs[head], columns[head]) for head in labels}
    found = {
        head: score(
            averaged(logits[head], aggregate),
            labels[head],
            logits[head].argmax(axis=1),
            reversal=reversals[head][labels[head]] if head in reversals else -1,
        )
        for head in labels
    }
    if set(PAIR) <= set(labels):
        found[ACTION] = _score_action(logits, labels, aggregate)
    return found


def _of_classes(outputs: NDArray[np.floating], columns: Sequence[int]) -> Logits:
    """Logits of the dataset's classes; a class without an output can never be answered."""
    taken: Logits = np.asarray(outputs, dtype=np.float64)[:, list(columns)]
    taken[:, [place for place, column in enumerate(columns) if column == NO_OUTPUT]] = -np.inf
    return taken


def averaged(logits: Logits, aggregate: Aggregate) -> NDArray[np.float64]:
    """Class probabilities of a video, from the logits of its views.

    ``logit_sum`` ranks as the sum of logits does.
    """
    if aggregate == "probability_mean":
        mean: NDArray[np.float64] = softmax(logits, axis=1).mean(axis=0)
        return mean
    summed: NDArray[np.float64] = softmax(logits.mean(axis=0))
    return summed


def log_probabilities(
    outputs: Mapping[str, NDArray[np.floating]],
    columns: Mapping[str, Sequence[int]],
    aggregate: Aggregate,
) -> dict[str, tuple[float, ...]]:
    """Of every class of each head, the views averaged, to seven digits; softmax undoes them."""
    found = {}
    for head, places in columns.items():
        averages = averaged(_of_classes(outputs[head], places), aggregate)
        logs = np.log(np.maximum(averages, np.finfo(np.float32).tiny))
        found[head] = tuple(float(f"{value:.7g}") for value in logs)
    return found


def score(
    probabilities: NDArray[np.float64],
    label: int,
    view_top: NDArray[np.intp],
    *,
    reversal: int = -1,
) -> HeadScore:
    """Rank the label; of equal classes the first stands first.

    Args:
        reversal: The class that the label becomes if time is reversed; -1 for none.
    """
    turns = reversal >= 0 and reversal != label
    order = np.argsort(-probabilities, kind="stable")
    best = probabilities[order[:2]]
    return HeadScore(
        top=tuple(order[:NUM_TOP].tolist()),
        label_rank=int(np.flatnonzero(order == label)[0]) + 1,
        label_probability=float(probabilities[label]),
        margin=float(best[0] - best[-1]),
        view_top=tuple(view_top.tolist()),
        reversal_probability=float(probabilities[reversal]) if turns else None,
    )


def _score_action(
    logits: Mapping[str, Logits], labels: Mapping[str, int], aggregate: Aggregate
) -> HeadScore:
    """Rank pairs by the product of their probabilities, as EPIC-KITCHENS-100 scores actions."""
    verb, noun = (averaged(logits[head], aggregate) for head in PAIR)
    num_nouns = len(noun)
    views = [logits[head].argmax(axis=1) for head in PAIR]
    flat = score(
        np.outer(verb, noun).reshape(-1),
        labels["verb"] * num_nouns + labels["noun"],
        views[0] * num_nouns + views[1],
    )
    return HeadScore(
        top=tuple(_action(place, num_nouns) for place in flat.top),
        label_rank=flat.label_rank,
        label_probability=flat.label_probability,
        margin=flat.margin,
        view_top=tuple(_action(place, num_nouns) for place in flat.view_top),
    )


def _action(place: int, num_nouns: int) -> int:
    return place // num_nouns * NOUN_BASE + place % num_nouns
