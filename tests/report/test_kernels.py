import pytest

from tests.report.fabricate import environment
from vbench.core.bench import BENCH_SCHEMA_VERSION, Contender, KernelRecord
from vbench.report import figures, kernels
from vbench.report.plots import PLOTS


def contender(name, role, seconds, *, every=1):
    return Contender(
        name=name,
        role=role,
        rounds=tuple(range(0, 10, every)),
        seconds=(seconds,) * len(range(0, 10, every)),
        first_call_s=2 * seconds,
    )


def record(num_tokens, *, load=0.1, name="native <b>", num_threads=1):
    scale = num_tokens / 1000
    return KernelRecord(
        schema_version=BENCH_SCHEMA_VERSION,
        started_at_utc="2026-11-21T12:00:00+00:00",
        kernel="selective_scan",
        sizes={"batch": 1, "num_tokens": num_tokens},
        device="cpu",
        num_threads=num_threads,
        clock="cpu" if num_threads == 1 else "wall",
        contenders=(
            contender("reference loop", "reference", 1.2 * scale, every=5),
            contender("chunked", "ours", 0.2 * scale),
            contender(name, "ours", 0.02 * scale),
            contender("traffic", "floor", 0.004 * scale),
        ),
        environment=environment("a CPU", load_average=load),
    )


RECORDS = [record(1000), record(8000)]


def test_a_sentence_a_kernel_says_what_the_best_form_gains_and_lacks():
    (sentence,) = kernels.sentences(RECORDS)
    assert sentence == (
        "selective scan, batch 1, 8000 tokens: native <b> takes 160 ms, 60 times faster than "
        "reference loop, 5 times its floor (traffic)"
    )


def test_several_threads_have_sentences_of_their_own_and_no_panel():
    records = [*RECORDS, record(8000, num_threads=2)]
    one, two = kernels.sentences(records)
    assert one.startswith("selective scan, batch 1, 8000 tokens: ")
    assert two.startswith("selective scan, batch 1, 8000 tokens, 2 threads: ")
    table = kernels.forms_table(records)
    threads = [column.key for column in table.columns].index("threads")
    assert [row[threads].value for row in table.rows] == [1] * 8 + [2] * 4
    drawn = figures.render(PLOTS[kernels.PLOT], kernels.to_frame(records))
    assert drawn.svg == figures.render(PLOTS[kernels.PLOT], kernels.to_frame(RECORDS)).svg
    assert "times on 2 threads" in drawn.caption


def test_the_table_holds_every_form_with_its_ratios():
    table = kernels.forms_table(RECORDS)
    keys = [column.key for column in table.columns]
    assert len(table.rows) == 8
    native = dict(zip(keys, table.rows[2], strict=True))
    assert native["times_faster_than_reference"].value == pytest.approx(60)
    assert native["times_floor"].value == pytest.approx(5)
    assert native["median_ms"].value == pytest.approx(20)
    assert native["samples"].value == 10


def test_a_busy_machine_and_fewer_samples_are_told():
    flags = {flag.topic: flag.text for flag in kernels._flags([record(1000, load=3.2)])}
    assert "load average 3.2" in flags["busy machine"]
    assert flags["fewer samples"].endswith("2 samples, others 10")
    assert "busy machine" not in {flag.topic for flag in kernels._flags(RECORDS)}


def test_the_report_is_whole_safe_and_the_same_twice(tmp_path):
    first = kernels.render(RECORDS, tmp_path / "a", commands=["vbench bench kernels"])
    second = kernels.render(RECORDS, tmp_path / "b", commands=["vbench bench kernels"])
    texts = [path.read_bytes() for path in first.paths]
    assert texts == [path.read_bytes() for path in second.paths]
    readme = first.paths[0].read_text(encoding="utf-8")
    assert "figures/kernel_times.svg" in readme
    assert "native &lt;b&gt;" in readme
    assert "a CPU" in readme
    assert "seeds" not in readme


def test_the_figure_is_drawn_of_kernels_only():
    plot = PLOTS[kernels.PLOT]
    frame = kernels.to_frame(RECORDS)
    assert plot.applies(frame)
    assert not plot.applies(frame.drop(columns="form"))
    drawn = figures.render(plot, frame)
    assert "1 CPU threads" not in drawn.caption
    assert "a CPU" in drawn.caption
    for label in ("reference loop", "chunked", "traffic"):
        assert label.encode() in drawn.svg
