"""How views become one answer, and verbs and nouns an action."""

import numpy as np
import pytest
from scipy.special import softmax

from vbench.accuracy.label_space import NO_OUTPUT
from vbench.accuracy.scoring import averaged, score_heads


def one(logits, label, aggregate="probability_mean", columns=None):
    logits = np.array(logits, dtype=np.float32)
    places = columns or list(range(logits.shape[1]))
    return score_heads({"class": logits}, {"class": places}, {"class": label}, aggregate)["class"]


def test_probabilities_and_logits_average_to_different_answers():
    logits = [[9.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 4.0, 0.0]]
    assert one(logits, 1).top[0] == 1
    assert one(logits, 1, "logit_sum").top[0] == 0
    assert one(logits, 1, "logit_sum").label_rank == 2


def test_averages_are_those_of_the_definition():
    logits = np.random.default_rng(0).normal(size=(6, 9))
    assert averaged(logits, "probability_mean") == pytest.approx(softmax(logits, 1).mean(0))
    assert np.argsort(averaged(logits, "logit_sum")).tolist() == np.argsort(logits.sum(0)).tolist()


@pytest.mark.parametrize("aggregate", ["probability_mean", "logit_sum"])
def test_a_class_without_an_output_is_never_answered(aggregate):
    logits = [[0.0, 1.0, 9.0], [0.0, 2.0, 9.0]]  # the last output is of no class here
    found = one(logits, 1, aggregate, columns=[0, NO_OUTPUT, 1])
    assert found.top == (2, 0, 1)
    assert (found.label_probability, found.label_rank) == (0.0, 3)
    assert found.view_top == (2, 2)


def test_of_equal_classes_the_first_stands_first():
    found = one([[1.0, 1.0, 1.0]], 2)
    assert (found.top, found.label_rank, found.margin) == ((0, 1, 2), 3, 0.0)


def test_outputs_are_reordered_by_the_columns():
    found = one([[0.0, 5.0, 1.0, 9.0]], 0, columns=[1, 0, 2])
    assert found.top == (0, 2, 1)
    assert found.view_top == (0,)
    assert found.label_probability == pytest.approx(softmax([5.0, 0.0, 1.0])[0])


def test_an_action_is_ranked_by_the_product_of_its_parts():
    verb = np.log([[0.6, 0.4]])
    noun = np.log([[0.5, 0.3, 0.2]])
    found = score_heads(
        {"verb": verb, "noun": noun},
        {"verb": [0, 1], "noun": [0, 1, 2]},
        {"verb": 1, "noun": 0},
        "probability_mean",
    )
    assert found["action"].top == (0, 1000, 1, 2, 1001)
    assert found["action"].label_rank == 2
    assert found["action"].label_probability == pytest.approx(0.2)
    assert found["verb"].label_rank == 2
    assert found["noun"].label_rank == 1
