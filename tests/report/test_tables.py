import pytest

from tests.report.fabricate import GPU, MIB, environment, figure1_records, record
from vbench.report.comparisons import attribution_table, exponents_table, ratio_table
from vbench.report.derive import add_derived
from vbench.report.frame import to_frame
from vbench.report.markdown import escape
from vbench.report.markdown import table as as_markdown
from vbench.report.provenance import cases_table, environment_table
from vbench.report.tables import detail_tables, main_tables


def frame_of(*records):
    return add_derived(to_frame(records))


def column(table, key):
    index = [column.key for column in table.columns].index(key)
    return [row[index] for row in table.rows]


def test_numbers_are_shown_in_one_scale_a_column_and_agree_with_hand_computation():
    frame = frame_of(
        record("a", 8, {"latency_s": 0.0125, "peak_allocated_bytes": 1.5 * 2**30}, batch_size=2),
        record("a", 16, {"latency_s": 0.25, "peak_allocated_bytes": 512 * MIB}, batch_size=2),
    )
    (table,) = main_tables(frame)
    assert [cell.text for cell in column(table, "latency_s")] == ["12.5", "250"]
    assert [cell.text for cell in column(table, "throughput_clips_per_s")] == ["160", "8.00"]
    assert [cell.text for cell in column(table, "peak_allocated_bytes")] == ["1.50", "0.500"]
    assert [cell.value for cell in column(table, "peak_allocated_bytes")] == [1.5 * 2**30, 2**29]


def test_each_column_belongs_to_one_kind():
    metrics = {"latency_s": 1.0, "estimated_latency_s": 0.9, "params": 7e6}
    (table,) = main_tables(frame_of(record(metrics=metrics)))
    groups = {column.key: column.group for column in table.columns if column.group}
    assert groups["latency_s"] == "measured"
    assert groups["estimated_latency_s"] == "estimated"
    assert groups["params"] == "counted"
    assert list(groups.values()) == sorted(groups.values(), key=list(groups.values()).index)


def test_an_interval_is_printed_with_its_value():
    samples = [0.010, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016]
    (table,) = main_tables(frame_of(record(metrics={"latency_s": samples})))
    assert column(table, "latency_s")[0].text == "13.0 [10.0, 16.0]"


def test_published_points_stand_in_columns_of_their_own():
    (table,) = main_tables(frame_of(*figure1_records()))
    keys = ["model", "attention", "frames", "published_reserved_per_clip_bytes"]
    rows = zip(*(column(table, key) for key in keys), strict=True)
    found = {(m.text, a.text, t.value): cell.value for m, a, t, cell in rows if cell.value}
    assert len(found) == 8
    assert found["timesformer_tiny_joint", "eager", 64] == pytest.approx(569.9 * 2**30 / 128)
    assert {model for model, *_ in found} == {"timesformer_tiny_joint", "videomamba_tiny"}


def test_a_metric_nobody_knows_is_shown_all_the_same():
    (table,) = detail_tables(frame_of(record(metrics={"bus_stall_percent": 12.5})))
    (header,) = [column.header for column in table.columns if column.group]
    assert header == "bus stall (%)"
    assert column(table, "bus_stall_percent")[0].text == "12.5"


def test_devices_have_tables_of_their_own():
    tables = main_tables(
        frame_of(
            record(metrics={"latency_s": 1.0}),
            record(metrics={"latency_s": 2.0}, environment=environment("A100")),
        )
    )
    assert [table.title for table in tables] == [f"Results: {GPU}", "Results: A100"]
    assert [len(table.rows) for table in tables] == [1, 1]


def test_settings_that_vary_become_columns_and_others_are_said_once():
    (table,) = main_tables(
        frame_of(
            record(metrics={"latency_s": 1.0}, precision="fp32"),
            record(metrics={"latency_s": 2.0}, precision="bf16", autocast=True),
        )
    )
    assert [cell.text for cell in column(table, "precision")] == ["fp32", "bf16 autocast"]
    assert "224 px" in table.note
    assert "fp32" not in table.note


def test_every_case_is_listed_with_its_ending_and_reason():
    table = cases_table(
        [
            record(metrics={"latency_s": 1.0}, notes={"macs_by_operator": '{"a": 1}'}),
            record(num_frames=16, status="oom", error="tried to allocate 9 GiB"),
            record(num_frames=32, status="timeout", error="after 600 s", environment=None),
        ]
    )
    assert [c.text for c in column(table, "status")] == ["ok", "out of memory", "timed out"]
    assert [c.text for c in column(table, "reason")] == [
        "",
        "tried to allocate 9 GiB",
        "after 600 s",
    ]
    assert [c.text for c in column(table, "notes")] == ["", "", ""]


def test_the_environment_table_never_names_the_machine():
    table = environment_table([record(environment=environment(hostname="secret", driver="550"))])
    cells = {row[0].text: row[1].text for row in table.rows}
    assert cells["driver"] == "550"
    assert "secret" not in cells.values()


def test_exponents_state_their_frames_and_law():
    table = exponents_table(frame_of(*figure1_records()))
    rows = [[cell.text for cell in row] for row in table.rows]
    joint = next(row for row in rows if row[0] == "timesformer_tiny_joint, eager")
    assert joint[2:6] == ["memory", "estimated", "a + b T^p", "1.99"]
    assert joint[-1] == "8, 16, 32, 64"


def test_ratios_are_given_at_every_common_frame_count():
    table = ratio_table(frame_of(*figure1_records()))
    rows = {(r[0].text, r[3].text): [c.text for c in r[5:]] for r in table.rows}
    assert rows["timesformer_tiny_joint, eager", "memory"] == ["4.03", "8.77", "18.6", "38.6"]
    assert rows["timesformer_tiny, sdpa", "time"][-1] == "0.444"


def test_the_attribution_multiplies_back_in_the_table():
    rows = attribution_table(frame_of(*figure1_records())).rows
    memory = [row for row in rows if row[0].text == "memory above weights and clips, 64 frames"]
    assert [row[4].text for row in memory if row[2].text.endswith("(joint)")] == ["40.5"]
    assert [row[4].text for row in memory if row[5].text == "published"] == ["40", "39"]


def test_markdown_shows_hostile_text_as_it_is():
    hostile = "a|b\n# c <img src=x onerror=alert(1)> `d` [e](http://f) *g*"
    shown = escape(hostile)
    assert "\n" not in shown
    assert "<" not in shown
    assert "\\|" in shown
    assert "\\[e\\](" in shown
    table = as_markdown(cases_table([record(status="error", error=hostile)]))
    rows = table.splitlines()
    assert len(rows) == 3
    assert all(row.replace("\\|", "").count("|") == rows[0].count("|") for row in rows)


def of_kernels(*named, **changes):
    records = [
        record("a", 8 * (i + 1), {"latency_s": 1.0}, notes={"kernels": k} if k else {}, **changes)
        for i, k in enumerate(named)
    ]
    (table,) = main_tables(frame_of(*records))
    return table


def test_the_kernels_that_ran_are_a_column_where_they_differ():
    table = of_kernels("attention flash", "attention math")
    cells = [cell.text for cell in column(table, "kernels")]
    assert cells == ["attention flash", "attention math"]


def test_the_kernels_that_ran_are_said_once_where_they_are_the_same():
    table = of_kernels("attention flash", "attention flash")
    assert "kernels" not in [column.key for column in table.columns]
    assert table.note.endswith(", attention flash")


def test_a_point_that_failed_says_nothing_of_its_kernels():
    failed = record("a", 64, status="oom")
    (table,) = main_tables(
        frame_of(record("a", 8, {"latency_s": 1.0}, notes={"kernels": "attention flash"}), failed)
    )
    assert table.note.endswith(", attention flash")
