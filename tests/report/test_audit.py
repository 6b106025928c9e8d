"""The audit's verdicts on made-up rows, one a reason, and its report of them."""

import dataclasses
import json

import msgspec
import pytest

from tests.records import a_record
from vbench.core.printed import Printed
from vbench.core.store import RunWriter
from vbench.core.types import Case, ClipSpec
from vbench.report import audit
from vbench.report.audit.evidence import Evidence, evidence
from vbench.report.audit.verdicts import Reason, verdict

TINY = Evidence(
    clip="8x224",
    macs=11.71e9,
    params=7.03e6,
    scan=1.417e9,
    hidden={
        "model_zoo::selective_scan": 1.417e9,
        "matmul": 1.62e9,
        "model_zoo::causal_conv1d": 0.116e9,
    },
    scan_flops=4.22e9,
    num_classes=400,
    params_per_class=193,
)
DIVIDED = Evidence(clip="8x224", macs=195.83e9, attention=5.954e9, norms=0.223e9)


def a_row(value: float, *, metric: str = "macs", digits: int = 3, **fields) -> Printed:
    """A printed number of `digits` digits."""
    text = f"{value:.{digits}g}"
    case = Case(model="m", clip=ClipSpec(num_frames=8), batch_size=1, device="meta")
    known = {
        "name": "M",
        "metric": metric,
        "value": value,
        "rounding": 0.5 * 10 ** (len(str(int(value))) - digits),
        "text": text,
        "word": "GFLOPs" if metric.startswith("macs") else "",
        "dataset": "kinetics400",
        "frames": 8,
        "size_px": 224,
        "source": "arXiv:1234.56789",
        "location": "Table 1",
        "case": case,
    }
    return Printed(**known | fields)


@pytest.mark.parametrize(
    ("row", "found", "reasons"),
    [
        (a_row(196e9), DIVIDED, [Reason.EQUAL]),
        (a_row(587e9, views=(1, 3)), DIVIDED, [Reason.VIEWS]),
        (a_row(587e9, metric="macs_per_video", views=(1, 3)), DIVIDED, [Reason.VIEWS]),
        (a_row(392e9), DIVIDED, [Reason.TWICE]),
        (a_row(149.9e9, digits=4), dataclasses.replace(DIVIDED, attention=46e9),
         [Reason.ATTENTION]),
        (a_row(10.3e9), TINY, [Reason.SCAN]),
        (a_row(8.6e9, digits=2), TINY, [Reason.FUSED]),
        (a_row(9e9, digits=1), TINY, [Reason.FUSED, Reason.ROUNDING]),
        (a_row(14.5e9), TINY, [Reason.SCAN_IN_FLOPS]),
        (a_row(206e9), dataclasses.replace(DIVIDED, norms=10e9), [Reason.NORMS]),
        (a_row(7e6, metric="params", digits=1), dataclasses.replace(TINY, params=7.148e6),
         [Reason.ROUNDING]),
        (a_row(22e6, metric="params", digits=2), dataclasses.replace(TINY, params=22.89e6),
         [Reason.CUT]),
        (a_row(148e9), Evidence(clip="8x224", macs=151.3e9, products=3.3e9,
                                product_names=("matmul", "einsum")), [Reason.PRODUCTS]),
        (a_row(250e9), DIVIDED, [Reason.UNEXPLAINED]),
        (a_row(250e9), None, [Reason.NOT_COUNTED]),
        (a_row(103e9, views=(4, 3)), TINY, [Reason.FUSED, Reason.VIEWS]),
        (a_row(103e9, views=(4, 3), metric="macs_per_video"), TINY,
         [Reason.FUSED, Reason.VIEWS]),
        (a_row(206e9, views=(4, 3)), TINY, [Reason.UNEXPLAINED]),
        (a_row(206e9, views=(4, 3), metric="macs_per_video"), TINY,
         [Reason.FUSED, Reason.TWICE, Reason.VIEWS]),
    ],
)  # fmt: skip
def test_each_printed_number_gets_the_simplest_reason_that_gives_it(row, found, reasons):
    assert list(verdict(row, found).reasons) == reasons


def test_another_common_input_explains_what_the_printed_one_does_not():
    other = dataclasses.replace(DIVIDED, clip="16x448", macs=1703e9)
    judged = verdict(a_row(1703e9, digits=4), DIVIDED, [DIVIDED, other])
    assert judged.reasons == (Reason.INPUT,)
    assert "16x448" in judged.arithmetic
    near = dataclasses.replace(other, macs=1675e9)  # 1.7 % off: too much for one of many inputs
    assert verdict(a_row(1703e9, digits=4), DIVIDED, [near]).reasons == (Reason.UNEXPLAINED,)


def test_a_head_for_the_row_s_own_classes_explains_parameters():
    large = dataclasses.replace(TINY, params=10.0e6, params_per_class=5_000)
    row = a_row(8.87e6, metric="params", dataset="ssv2")
    judged = verdict(row, large)
    assert judged.reasons == (Reason.HEAD,)
    assert "- 226 classes x 5000" in judged.arithmetic
    assert verdict(a_row(8.87e6, metric="params"), large).reasons == (Reason.UNEXPLAINED,)


def test_another_input_of_a_model_with_a_scan_may_also_leave_the_scan_out():
    half = dataclasses.replace(TINY, clip="4x224", macs=5.855e9, scan=0.7085e9)
    half = dataclasses.replace(half, hidden={"model_zoo::selective_scan": 1.576e9})
    judged = verdict(a_row(4.28e9), TINY, [TINY, half])
    assert judged.reasons == (Reason.FUSED, Reason.INPUT)


def test_norms_at_another_input_are_scaled_with_its_pixels():
    found = Evidence(clip="8x224", num_pixels=8 * 224**2, macs=41.74e9, norms=0.44e9)
    other = Evidence(clip="8x256", num_pixels=8 * 256**2, macs=54.52e9)
    judged = verdict(a_row(55.10e9, digits=4), found, [other])
    assert judged.reasons == (Reason.NORMS, Reason.INPUT)
    assert "54.52 G counted + 0.5747 G of norms = 55.09 G" in judged.arithmetic


def test_another_input_is_not_multiplied_as_well():
    other = dataclasses.replace(DIVIDED, clip="16x448", macs=1703e9)
    assert verdict(a_row(3406e9, digits=4), DIVIDED, [other]).reasons == (Reason.UNEXPLAINED,)


def test_an_explanation_that_fits_as_well_is_named_too():
    found = dataclasses.replace(DIVIDED, attention=20e9, products=22e9, product_names=("einsum",))
    judged = verdict(a_row(175e9), found)
    assert judged.reasons == (Reason.ATTENTION,)
    assert "; or products outside of layers left out: 173.8 G" in judged.arithmetic


def test_the_arithmetic_can_be_checked_by_the_reader():
    judged = verdict(a_row(8.6e9, digits=2, text="8.6 G"), TINY)
    assert judged.arithmetic == (
        "11.71 G counted - 1.417 G model_zoo::selective_scan - 1.620 G matmul - 0.1160 G "
        "model_zoo::causal_conv1d = 8.557 G, printed 8.6 G (+0.5 %)"
    )
    views = verdict(a_row(590e9, text="0.59 T", views=(1, 3), metric="macs_per_video"), DIVIDED)
    assert views.counted == pytest.approx(3 * 195.83e9)
    assert views.arithmetic == (
        "(195.8 G counted) x 1 clips x 3 crops = 587.5 G, printed 0.59 T (+0.4 %)"
    )


def test_no_more_than_two_reasons_are_believed_at_once_unless_the_views_are_declared():
    value = 2 * 3 * (195.83e9 - 40e9)
    found = dataclasses.replace(DIVIDED, attention=40e9)
    assert verdict(a_row(value, views=(1, 3)), found).reasons == (Reason.UNEXPLAINED,)
    declared = a_row(value, views=(1, 3), metric="macs_per_video")
    assert set(verdict(declared, found).reasons) == {Reason.ATTENTION, Reason.TWICE, Reason.VIEWS}


def test_a_count_said_to_be_of_all_views_is_not_equal_to_that_of_one():
    row = a_row(196e9, views=(1, 3), metric="macs_per_video")
    assert verdict(row, DIVIDED).reasons == (Reason.UNEXPLAINED,)


def test_notes_that_are_not_what_they_should_be_are_passed_over():
    for note in ("[1, 2]", "not json", '{"linear": "x", "conv": null}', "{"):
        record = a_record(
            counted={"macs": (5.0,)},
            notes={
                "macs_by_operator": note,
                "fvcore_differences": note,
                "fvcore_by_operator": note,
            },
        )
        assert evidence(record).macs == 5.0
        assert evidence(record).attention == 0.0


def a_run(folder, *, model="m", notes=None):
    """A run folder with one record, and the printed row that asks for its case."""
    case = Case(model=model, clip=ClipSpec(num_frames=8), batch_size=1, device="meta")
    record = a_record(
        case=case,
        counted={"macs": (195.83e9,), "params": (121.6e6,), "fvcore_macs": (190e9,)},
        notes=notes or {},
    )
    with RunWriter(folder) as writer:
        writer.append(record)
    return case, record


def test_the_report_holds_every_row_and_says_how_many_are_open(tmp_path):
    case, record = a_run(tmp_path / "run")
    rows = [
        a_row(196e9, case=case),
        a_row(590e9, case=case, views=(1, 3), metric="macs_per_video", text="0.59 T"),
        a_row(250e9, case=case),
        a_row(121e6, case=case, metric="params"),
    ]
    entries = audit.judge(rows, [record])
    assert audit.unsettled(entries) == [rows[2]]
    report = audit.render(entries, tmp_path / "run", tmp_path / "out", commands=["vbench audit"])
    page = (tmp_path / "out" / "README.md").read_text("utf-8")
    first = "Of 3 published operation counts of 1 model, 1 equal ours within 2 %, "
    assert first + "arithmetic explains 1, and nothing explains 1." in page
    assert "multiplied by views" in page
    ledger = (tmp_path / "out" / "tables" / "audit.csv").read_text("utf-8").splitlines()
    assert len(ledger) == 1 + len(rows)
    assert {path.name for path in report.paths} >= {"README.md", "index.html", "audit.csv"}


def test_the_same_records_give_the_same_bytes(tmp_path):
    case, record = a_run(tmp_path / "run")
    entries = audit.judge([a_row(196e9, case=case)], [record])
    for name in ("first", "second"):
        audit.render(entries, tmp_path / "run", tmp_path / name, commands=["vbench audit"])
    for path in (tmp_path / "first").rglob("*.*"):
        if path.is_file():
            other = tmp_path / "second" / path.relative_to(tmp_path / "first")
            assert path.read_bytes() == other.read_bytes()


def test_a_difference_between_counters_is_told_operator_by_operator(tmp_path):
    differences = {
        "scaled_dot_product_attention": {"ours": 5.9e9, "theirs": 0.0, "why": "no rule for it"},
        "linear": {"ours": 188e9, "theirs": 376e9, "why": "seen twice"},
        "conv": {"ours": 1e9, "theirs": 1e9, "why": "both count the same"},
        "layer_norm": {"ours": 0.0, "theirs": 0.2e9, "why": "norms"},
    }
    notes = {"fvcore_differences": json.dumps(differences)}
    case, record = a_run(tmp_path / "run", notes=notes)
    entries = audit.judge([a_row(196e9, case=case)], [record])
    audit.render(entries, tmp_path / "run", tmp_path / "out", commands=[])
    table = (tmp_path / "out" / "tables" / "operators.csv").read_text("utf-8")
    words = {line.split(",")[3]: line.split(",")[6] for line in table.splitlines()[1:]}
    assert words == {
        "scaled_dot_product_attention": "missed",
        "linear": "counted twice",
        "layer_norm": "counted besides",
    }


def test_hostile_text_is_escaped_everywhere(tmp_path):
    hostile = "<script>alert(1)</script>|`x`\n# h"
    notes = {
        "fvcore_differences": json.dumps({hostile: {"ours": 1.0, "theirs": 0.0, "why": hostile}}),
        "macs_by_operator": json.dumps({hostile: 1.0}),
        "thop_error": hostile,
    }
    case, record = a_run(tmp_path / "run", model=hostile, notes=notes)
    row = a_row(196e9, case=case, name=hostile, text=hostile, word=hostile, dataset=hostile)
    row = msgspec.structs.replace(row, source=hostile, location=hostile)
    entries = audit.judge([row, msgspec.structs.replace(row, value=250e9)], [record])
    audit.render(entries, tmp_path / "run", tmp_path / "out", commands=[])
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    readme = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "<script>alert" not in page + readme
    assert "\n# h" not in readme.partition("## Provenance")[0]
