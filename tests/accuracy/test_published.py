"""Which printed accuracies stand beside a measured one."""

import pytest

import model_zoo
from vbench.accuracy import protocols, published
from vbench.accuracy.protocols import Use


def printed(model, dataset, *, num_frames, size_px=224, head="class", protocol=None):
    family = model_zoo.model_entry(model).family
    use = Use(model=model, family=family, dataset=dataset, num_frames=num_frames, size_px=size_px)
    found = protocols.named(protocol, use) if protocol else protocols.find(use)
    return {row.printed for row in published.rows(model, dataset, head, found)}


@pytest.mark.parametrize(
    ("model", "dataset", "num_frames", "head", "expected"),
    [
        ("videomamba_tiny", "kinetics400", 16, "class", "78.1"),
        ("cast_base_16_ek100", "epic_kitchens100", 16, "action", "49.3"),
        ("videomamba_tiny", "lvu_scene", 32, "class", "70.37"),
        ("slow_r50_8x8", "kinetics400", 8, "class", "74.8"),
        ("slow_r50_8x8", "kinetics400", 4, "class", "72.7"),
    ],
)
def test_an_accuracy_of_the_same_protocol_is_found(model, dataset, num_frames, head, expected):
    assert expected in printed(model, dataset, num_frames=num_frames, head=head)


def test_a_verb_is_not_held_against_the_accuracy_of_actions():
    assert printed("cast_base_16_ek100", "epic_kitchens100", num_frames=16, head="verb") == set()


def test_views_that_are_printed_must_be_those_of_the_protocol():
    one = printed("x3d_s", "kinetics400", num_frames=13, size_px=160)
    ten = printed(
        "x3d_s", "kinetics400", num_frames=13, size_px=160, protocol="x3d-s-10-views-kinetics400"
    )
    assert "73.5" in one
    assert "73.1" in ten
    assert not one & ten


def test_nothing_is_published_under_a_custom_protocol():
    assert printed("videomamba_tiny", "kinetics400", num_frames=12) == set()
