"""What an audit counts; and famous rows, counted for real and then explained."""

import pytest

from tests.records import a_record
from vbench.core.errors import UsageError
from vbench.core.types import Case, ClipSpec
from vbench.measure import audit
from vbench.measure.probes.fvcore_macs import fvcore_macs
from vbench.measure.probes.head import head
from vbench.measure.probes.macs import macs
from vbench.measure.probes.thop_macs import thop_macs
from vbench.measure.subject import build
from vbench.report.audit import judge, unsettled
from vbench.report.audit.evidence import table as note_table
from vbench.report.audit.verdicts import Reason


def counted(case: Case):
    """The record that a worker would make of `case`, without its process."""
    subject = build(case, 1)
    samples = [probe(subject) for probe in (macs, head)]
    values = {name: tuple(v) for one in samples for name, v in one.values.items()}
    notes = {topic: note for one in samples for topic, note in one.notes.items()}
    return a_record(case=case, counted=values, notes=notes)


def the_row(model: str, text: str):
    return next(row for row in audit.printed_counts([model]) if row.text == text)


def test_the_printed_9_g_of_videomamba_leave_the_scan_and_what_is_fused_with_it_out():
    row = the_row("videomamba_tiny", "9 G")
    assert str(row.case.clip) == "8x224"
    (entry,) = judge([row], [counted(row.case)])
    assert entry.verdict.reasons == (Reason.FUSED, Reason.ROUNDING)
    assert entry.verdict.counted == pytest.approx(11.71e9, rel=1e-3)
    assert entry.verdict.expected == pytest.approx(8.56e9, rel=1e-3)
    for part in ("model_zoo::selective_scan", "model_zoo::causal_conv1d", "matmul"):
        assert part in entry.verdict.arithmetic


def test_the_printed_0_59_t_of_timesformer_are_of_three_views():
    row = the_row("timesformer_base", "0.59 T")
    (entry,) = judge([row], [counted(row.case)])
    assert entry.verdict.reasons == (Reason.VIEWS,)
    assert "x 1 clips x 3 crops" in entry.verdict.arithmetic


def test_a_quoted_input_that_cannot_be_is_told_by_the_one_that_gives_the_number():
    row = the_row("timesformer_hr", "1703 G")
    assert str(row.case.clip) == "16x224"
    records = [counted(row.case)]
    assert unsettled(judge([row], records)) == [row]
    others = {str(case.clip): case for case in audit.other_inputs([row])}
    (entry,) = judge([row], [*records, counted(others["16x448"])])
    assert entry.verdict.reasons == (Reason.INPUT,)
    assert "16x448" in entry.verdict.arithmetic


def test_every_printed_count_has_a_case_at_its_printed_input():
    rows = audit.printed_counts()
    assert len({row.case.model for row in rows}) > 40
    for row in rows:
        assert row.frames in (None, row.case.clip.num_frames)
        assert row.size_px in (None, row.case.clip.height_px)
        assert row.case.device == "meta"
        assert (row.word == "") == row.metric.endswith("params")


def test_other_inputs_change_one_thing_at_a_time_and_only_for_operations():
    row = the_row("timesformer_base", "196 G")
    cases = audit.other_inputs([row])
    assert {case.probes for case in cases} == {("macs",)}
    for case in cases:
        assert case.clip.num_frames == 8 or case.clip.height_px == 224
    assert audit.other_inputs([the_row("timesformer_base", "122 M")]) == []
    assert {case.clip.num_frames for case in audit.other_inputs([the_row("vim_tiny", "7 M")])} <= {
        1
    }


def test_an_unknown_model_is_refused():
    with pytest.raises(UsageError, match="unknown model: no_such"):
        audit.printed_counts(["no_such"])


def test_the_head_tells_what_a_class_costs():
    case = Case(model="timesformer_tiny", clip=ClipSpec(num_frames=2), batch_size=1, device="meta")
    values = head(build(case, 1)).values
    assert values == {"num_classes": [400], "params_per_class": [192 + 1]}
    two = Case(
        model="cast_base_16_ek100", clip=ClipSpec(num_frames=16), batch_size=1, device="meta"
    )
    assert head(build(two, 1)).values == {}


@pytest.mark.parametrize(("probe", "library"), [(fvcore_macs, "fvcore"), (thop_macs, "thop")])
def test_other_counters_note_which_operators_they_count_otherwise(probe, library):
    clip = ClipSpec(num_frames=2, height_px=32, width_px=32)
    case = Case(model="timesformer_tiny", clip=clip, batch_size=1, device="meta")
    subject = build(case, 1)
    samples = probe(subject)
    record = a_record(case=case, notes=dict(samples.notes))
    rows = note_table(record, f"{library}_differences").values()
    ours = macs(subject).values["macs"][0]
    total = sum(row["theirs"] for row in rows)
    assert sum(row["ours"] for row in rows) == pytest.approx(ours)
    assert [total] == pytest.approx(samples.values[f"{library}_macs"])
    assert any("scaled_dot_product_attention" in row["why"] for row in rows)
