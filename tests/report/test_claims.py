"""Judges on records made up so that the verdict is known."""

import msgspec
import pytest

from tests.report.fabricate import record, write_run
from vbench.core.claims import load_claims
from vbench.report.claims import JUDGES, Finding, Verdict, judged
from vbench.report.claims.page import as_data, judge_claim, render
from vbench.report.claims.points import points_of

WHOLE = "vbench.measure.baselines:evl_base_16_whole"
LARGE = "vbench.measure.baselines:vivit_large_joint"
MIB = 2**20


def claim_of(name):
    return load_claims([name])[0]


def findings(name, records):
    return {f.part: f for f in judged(claim_of(name), points_of(records)).findings}


def test_a_condition_and_holds_only_if_go_together():
    with pytest.raises(ValueError, match="go together"):
        Finding(part="a", verdict=Verdict.HOLDS, found="", condition="always")
    with pytest.raises(ValueError, match="go together"):
        Finding(part="a", verdict=Verdict.HOLDS_ONLY_IF, found="")


def test_every_judge_says_of_no_points_that_nothing_can_be_tested():
    for claim in load_claims([]):
        verdicts = {f.verdict for f in judged(claim, []).findings}
        assert verdicts == {Verdict.CANNOT_BE_TESTED}
        assert claim.judge in JUDGES


# VideoMamba's Figure 1


def figure1_records(memory, seconds, *, device="meta"):
    """Costs of a batch of TimeSformer-Ti in those of VideoMamba-Ti, by (scheme, kernel)."""
    is_meta = device == "meta"
    bytes_name = "estimated_activation_bytes" if is_meta else "peak_allocated_bytes"
    time_name = "estimated_latency_s" if is_meta else "latency_s"
    models = {"joint": "timesformer_tiny_joint", "divided": "timesformer_tiny"}
    conditions = {
        "batch_size": 4,
        "precision": "bf16",
        "autocast": True,
        "device": device,
        "gpu": "NVIDIA A100-SXM4-80GB" if is_meta else None,
    }

    def one(model, attention, cost, time):
        metrics = {bytes_name: cost * MIB, time_name: time}
        metrics |= {} if is_meta else {"resident_allocated_bytes": 0.0}
        return record(model, 64, metrics, attention=attention, **conditions)

    records = [one("videomamba_tiny", "none", 1.0, 1.0)]
    records += [
        one(models[scheme], kernel, memory[scheme, kernel], seconds[scheme, kernel])
        for scheme, kernel in memory
    ]
    return records


CORNERS = [("joint", "eager"), ("joint", "sdpa"), ("divided", "eager"), ("divided", "sdpa")]


def corners(*values):
    return dict(zip(CORNERS, values, strict=True))


def test_40_times_holds_only_under_what_reaches_it():
    found = findings("videomamba_figure1", figure1_records(corners(39, 1, 1, 1), corners(*[6] * 4)))
    assert found["memory"].text == "holds only if: joint attention, a materialised matrix"
    assert found["memory"].kind == "estimated"
    assert "39 times VideoMamba-Ti's at 64 frames" in found["memory"].found
    assert found["time"].verdict is Verdict.HOLDS


def test_40_times_does_not_hold_where_the_ratio_rounds_to_less():
    found = findings(
        "videomamba_figure1", figure1_records(corners(34, 1, 1, 1), corners(5, 1, 1, 1))
    )
    assert {f.verdict for f in found.values()} == {Verdict.DOES_NOT_HOLD}


def test_another_mode_and_precision_become_conditions():
    records = figure1_records(corners(39, 39, 39, 39), corners(6, 6, 6, 6))
    other = figure1_records(corners(20, 20, 20, 20), corners(6, 6, 6, 6))
    records += [
        record(
            r.case.model,
            64,
            {m.metric: m.values for m in r.measurements},
            attention=r.case.attention,
            batch_size=4,
            precision="fp32",
            device="meta",
            gpu="NVIDIA A100-SXM4-80GB",
        )
        for r in other
    ]
    found = findings("videomamba_figure1", records)
    assert found["memory"].condition == "bf16 autocast"


def test_measured_costs_are_taken_over_estimated_ones_and_said_to_be():
    records = figure1_records(corners(39, 1, 1, 1), corners(6, 1, 1, 1), device="cuda")
    found = findings("videomamba_figure1", records)
    assert {f.kind for f in found.values()} == {"measured"}
    assert "bounds" not in found["time"].found


def test_without_the_published_setting_figure1_cannot_be_tested():
    records = figure1_records(corners(39, 1, 1, 1), corners(6, 1, 1, 1))
    without = [r for r in records if r.case.attention != "eager"]
    found = findings("videomamba_figure1", without)
    assert {f.verdict for f in found.values()} == {Verdict.CANNOT_BE_TESTED}


# VideoMamba-M's cost


def cost_records(videomamba=10e9, vivit=4000e9, factorized=1000e9, uniformer=100e9):
    records = [record("videomamba_middle", t, {"macs": videomamba * t / 8}) for t in (8, 16, 32)]
    records += [record("videomamba_middle", 64, {"macs": videomamba * 25}, size=384)]
    records += [record("uniformer_base", t, {"macs": uniformer * t / 16}) for t in (16, 32)]
    records += [record(LARGE, 32, {"macs": vivit}, size=320)]
    return [*records, record("vivit_large_factorized", 32, {"macs": factorized})]


def test_a_lower_cost_at_every_rival_s_accuracy_holds():
    found = findings("videomamba_cost", cost_records())
    assert found["vivit_large"].verdict is Verdict.HOLDS
    assert found["uniformer_base"].verdict is Verdict.HOLDS
    assert "200 times less than vivit_large_joint at 32 x 320" in found["vivit_large"].found
    assert found["vivit_large_by_2"].verdict is Verdict.HOLDS


def test_a_claim_of_better_accuracy_is_held_against_the_input_that_reaches_it():
    found = findings("videomamba_cost", cost_records(videomamba=120e9))["vivit_large_by_2"]
    assert found.condition == "pretraining on CLIP-400M teacher"
    assert "videomamba_middle (ImageNet-1K) at 64 frames, 83.3 %" in found.found


def test_a_higher_cost_at_a_rival_s_accuracy_does_not_hold():
    found = findings("videomamba_cost", cost_records(videomamba=120e9))
    assert found["vivit_large"].verdict is Verdict.HOLDS
    assert found["uniformer_base"].verdict is Verdict.DOES_NOT_HOLD
    assert "7.2 times more than uniformer_base at 16 x 224" in found["uniformer_base"].found


def test_a_lower_cost_than_one_rival_alone_is_a_condition():
    found = findings("videomamba_cost", cost_records(factorized=10e9))
    assert found["vivit_large"].condition == "vivit_large_joint at 32 x 320"


def test_views_are_part_of_the_cost():
    """Equal cost a view is three times the cost a video: 12 views against 4."""
    found = findings("videomamba_cost", cost_records(videomamba=50e9, uniformer=100e9))
    assert "3 times more than uniformer_base at 16 x 224" in found["uniformer_base"].found


def test_without_the_dearest_input_of_its_own_no_part_is_judged():
    records = [r for r in cost_records() if r.case.clip.num_frames != 64]
    found = findings("videomamba_cost", records)
    assert {f.verdict for f in found.values()} == {Verdict.CANNOT_BE_TESTED}
    assert "videomamba_middle at 64 frames" in found["vivit_large_by_2"].found


def test_a_rival_that_is_not_counted_is_named():
    records = [r for r in cost_records() if r.case.model != "vivit_large_factorized"]
    found = findings("videomamba_cost", records)["vivit_large"]
    assert found.verdict is Verdict.CANNOT_BE_TESTED
    assert "vivit_large_factorized at 32 frames" in found.found


# EVL's frozen backbone


def evl_records(batches, seconds, *, measured=None):
    """Largest batches (frozen, whole) and seconds a clip at them, by kernel."""
    common = {"mode": "training", "precision": "fp16", "autocast": True}
    on_meta = common | {"device": "meta", "gpu": "Tesla V100-SXM2-16GB"}
    auto = on_meta | {"batch_size": "auto"}
    records = [
        msgspec.structs.replace(
            record(model, 8, {"estimated_latency_s": time * batch}, attention=attention, **auto),
            batch_size=batch,
        )
        for attention in batches
        for model, batch, time in zip(
            ("evl_base_16", WHOLE), batches[attention], seconds[attention], strict=True
        )
    ]
    for model, time in zip(("evl_base_16", WHOLE), measured or (), strict=False):
        metrics = {"latency_s": 8 * time}
        records.append(record(model, 8, metrics, batch_size=8, attention="eager", **common))
    return records


def test_batches_are_compared_in_powers_of_two():
    found = findings("evl_frozen_backbone", evl_records({"eager": (117, 11)}, {"eager": (1, 3)}))
    assert found["batch"].verdict is Verdict.HOLDS
    assert "117 clips fit frozen and 11 whole, or 64 and 8" in found["batch"].found
    assert found["time"].verdict is Verdict.HOLDS


def test_a_smaller_gain_in_batch_and_time_does_not_hold():
    found = findings("evl_frozen_backbone", evl_records({"eager": (40, 8)}, {"eager": (1, 2)}))
    assert {f.verdict for f in found.values()} == {Verdict.DOES_NOT_HOLD}


def test_a_gain_under_one_kernel_is_a_condition():
    records = evl_records({"eager": (64, 8), "sdpa": (64, 16)}, {"eager": (1, 3), "sdpa": (1, 2)})
    found = findings("evl_frozen_backbone", records)
    assert {f.condition for f in found.values()} == {"a materialised matrix"}


def test_measured_training_time_stands_alone():
    records = evl_records({"eager": (64, 8)}, {"eager": (1, 3)}, measured=(1, 2))
    found = findings("evl_frozen_backbone", records)["time"]
    assert (found.kind, found.verdict) == ("measured", Verdict.DOES_NOT_HOLD)


# LCR


def lcr_records(*, params=5_137_563, lcr=((16, 240, 21.7e9), (16, 224, 18.7e9)), rival=196.02e9):
    records = [
        record("lcr_jester", t, {"params": params, "macs": macs}, size=size)
        for t, size, macs in lcr
    ]
    return [*records, record("timesformer_base", 8, {"macs": rival})]


def test_lcr_s_cost_depends_on_an_input_that_nobody_states():
    found = findings("lcr_cost", lcr_records())
    assert found["parameters"].verdict is Verdict.HOLDS_ONLY_IF
    assert found["operations"].condition == "an input of 16 x 240"
    assert "8 times one view of timesformer_base at 8 x 224" in found["timesformer"].condition


def test_lcr_s_numbers_do_not_hold_where_nothing_rounds_to_them():
    found = findings("lcr_cost", lcr_records(params=6e6, lcr=((16, 224, 19e9),), rival=150e9))
    assert found["parameters"].verdict is Verdict.DOES_NOT_HOLD
    assert found["operations"].verdict is Verdict.DOES_NOT_HOLD


def test_lcr_s_cost_holds_at_every_input_that_rounds_to_it():
    found = findings("lcr_cost", lcr_records(lcr=((16, 240, 21.6e9), (36, 160, 22.4e9))))
    assert found["operations"].verdict is Verdict.HOLDS


# Growth


def growth_records(model, exponents, *, attention="none", side_exponents=None):
    """A curve with (operations, memory, time) of these exponents in frames, or in pixels."""
    points = [(t, 224, t / 16, exponents) for t in (16, 32, 64, 96)]
    points += [(16, s, (s / 224) ** 2, side_exponents) for s in (320, 448) if side_exponents]
    names = ("macs", "estimated_activation_bytes", "estimated_latency_s")
    return [
        record(
            model,
            t,
            {name: 1e6 * scale**p for name, p in zip(names, ps, strict=True)},
            size=side,
            attention=attention,
            device="meta",
        )
        for t, side, scale, ps in points
    ]


def test_linear_growth_of_every_recurrence_holds():
    records = growth_records("videomamba_tiny", (1, 1, 1), side_exponents=(1, 1, 1))
    records += growth_records("lcr_jester", (1, 1, 1.05))
    found = findings("growth", records)["linear"]
    assert found.verdict is Verdict.HOLDS
    assert "1.05 (lcr_jester, time by frames)" in found.found
    assert "2 models, 9 curves" in found.found


def test_a_recurrence_that_grows_faster_is_told():
    records = growth_records("videomamba_tiny", (1, 1, 1)) + growth_records("lcr_jester", (1, 1, 2))
    found = findings("growth", records)["linear"]
    assert found.verdict is Verdict.HOLDS_ONLY_IF
    assert findings("growth", growth_records("lcr_jester", (2, 2, 2)))["linear"].verdict is (
        Verdict.DOES_NOT_HOLD
    )


def test_quadratic_growth_is_conditional_on_scheme_and_kernel():
    records = growth_records("vivit_base", (1.7, 2, 1.9), attention="eager")
    records += growth_records("vivit_base", (1.7, 1, 1.3), attention="sdpa")
    records += growth_records("timesformer_tiny", (1, 1, 1), attention="eager")
    found = findings("growth", records)
    assert found["quadratic_operations"].condition == "joint attention"
    assert found["quadratic_memory"].condition == "joint attention, a materialised matrix"
    assert found["quadratic_time"].condition == "joint attention, a materialised matrix"


def test_linear_attention_would_refute_quadratic_growth():
    found = findings("growth", growth_records("vivit_base", (1, 1, 1), attention="eager"))
    assert found["quadratic_memory"].verdict is Verdict.DOES_NOT_HOLD
    assert found["linear"].verdict is Verdict.CANNOT_BE_TESTED


def test_two_points_are_no_curve():
    records = growth_records("videomamba_tiny", (1, 1, 1))[:2]
    assert findings("growth", records)["linear"].verdict is Verdict.CANNOT_BE_TESTED


# The page


def test_the_report_holds_verdicts_tables_and_figures(tmp_path):
    figure1 = write_run(
        tmp_path / "inference", figure1_records(corners(39, 1, 1, 1), corners(6, 1, 1, 1))
    )
    growth = write_run(
        tmp_path / "frames", growth_records("vivit_base", (1.7, 2, 1.9), attention="eager")
    )
    tested = [
        judge_claim(claim_of("videomamba_figure1"), [figure1]),
        judge_claim(claim_of("growth"), [growth]),
        judge_claim(claim_of("lcr_cost"), [], missing=["lcr_jester"]),
    ]
    render(tested, tmp_path / "out", commands=["vbench claims"])
    page = (tmp_path / "out" / "README.md").read_text()
    assert "holds only if: joint attention, a materialised matrix (estimated)" in page
    assert "the zoo has no lcr\\_jester" in page or "the zoo has no lcr_jester" in page
    assert (tmp_path / "out" / "figures" / "growth.svg").is_file()
    assert (tmp_path / "out" / "tables" / "growth_fits.csv").is_file()
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    render(tested, tmp_path / "out", commands=["vbench claims"])
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


def test_verdicts_as_json_are_of_the_closed_list():
    tested = judge_claim(claim_of("lcr_cost"), [], missing=["lcr_jester"])
    (claim,) = as_data([tested])
    assert {part["verdict"] for part in claim["parts"]} <= {str(v) for v in Verdict}
    assert claim["parts"][0]["condition"] is None
