import pytest

from vbench.report.claims import Verdict
from vbench.report.claims.settings import Setting, least_that_rounds_to, verdict_of


def settings(values):
    return [
        Setting(axes={"scheme": scheme, "kernel": kernel}, value=value)
        for (scheme, kernel), value in values.items()
    ]


GRID = [("joint", "eager"), ("joint", "fused"), ("divided", "eager"), ("divided", "fused")]


@pytest.mark.parametrize(
    ("good", "verdict", "condition"),
    [
        (GRID, Verdict.HOLDS, ""),
        ([], Verdict.DOES_NOT_HOLD, ""),
        (GRID[:1], Verdict.HOLDS_ONLY_IF, "joint, eager"),
        (GRID[:2], Verdict.HOLDS_ONLY_IF, "joint"),
        (GRID[:3], Verdict.HOLDS_ONLY_IF, "in 3 of 4 settings"),
    ],
)
def test_a_condition_names_what_holding_settings_share_and_others_lack(good, verdict, condition):
    values = {corner: 1.0 if corner in good else 0.0 for corner in GRID}
    assert verdict_of(settings(values), bool) == (verdict, condition)


def test_a_condition_that_is_not_enough_says_what_it_leaves_out():
    values = dict.fromkeys([*GRID, ("space", "eager")], 1.0) | {
        ("space", "eager"): 0.0,
        ("divided", "fused"): 0.0,
    }
    _, condition = verdict_of(settings(values), bool)
    assert condition == "joint or divided, but not with divided and fused"


def test_without_settings_nothing_can_be_tested():
    assert verdict_of([], bool) == (Verdict.CANNOT_BE_TESTED, "")


def test_a_printed_number_stands_for_what_rounds_to_it():
    assert [least_that_rounds_to(n) for n in (40, 6, 3)] == [35, 5.5, 2.5]
