import itertools

import matplotlib as mpl
import pytest

from tests.report.fabricate import environment, figure1_records, record
from vbench.report import canvas, published
from vbench.report.derive import add_derived
from vbench.report.figures import choose, render
from vbench.report.frame import to_frame
from vbench.report.plots import PLOTS


def frame_of(*records):
    return add_derived(to_frame(records))


def names(frame):
    return [plot.name for plot in choose(frame, ())]


def drawn(name, frame):
    with mpl.rc_context(canvas.STYLE):
        return PLOTS[name].draw(frame)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def by_frames(model="a", **changes):
    return [
        record(model, t, {"latency_s": 0.1 * t, "peak_allocated_bytes": 2**30 * t}, **changes)
        for t in (8, 16, 32)
    ]


def test_each_plot_applies_where_its_data_is():
    assert names(frame_of(*figure1_records())) == [
        "figure1",
        "attribution",
        "memory_by_frames",
        "throughput_by_frames",
        "macs_by_frames",
        "throughput_by_macs",
    ]
    assert names(frame_of(*by_frames())) == ["memory_by_frames", "throughput_by_frames"]
    assert names(frame_of(record(status="oom"))) == []
    assert names(to_frame([])) == []


def test_a_sweep_over_batches_is_drawn_over_batches():
    records = [record(metrics={"latency_s": 0.1 * b}, batch_size=b) for b in (1, 2, 4)]
    frame = frame_of(*records)
    assert names(frame) == ["batch_scaling"]
    (axes,) = drawn("batch_scaling", frame).figure.axes
    line = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert list(line.get_xdata()) == [1, 2, 4]
    assert list(line.get_ydata()) == pytest.approx([10, 10, 10])


def test_memory_is_drawn_in_gib_at_its_frames():
    (axes,) = drawn("memory_by_frames", frame_of(*by_frames())).figure.axes
    line = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert list(line.get_xdata()) == [8, 16, 32]
    assert list(line.get_ydata()) == [8, 16, 32]
    assert axes.get_ylabel() == "peak memory (GiB)"


def test_an_out_of_memory_case_is_marked_at_the_top_edge_in_words():
    frame = frame_of(*by_frames(), record("a", 64, status="oom"))
    (axes,) = drawn("memory_by_frames", frame).figure.axes
    crosses = [line for line in axes.lines if line.get_marker() == "X"]
    assert [(list(c.get_xdata()), list(c.get_ydata())) for c in crosses] == [([64], [0.97])]
    assert "out of memory" in [text.get_text() for text in axes.texts]


def test_batches_and_devices_never_share_a_panel():
    frame = frame_of(
        *by_frames(), *by_frames(batch_size=4), *by_frames(environment=environment("A"))
    )
    figure = drawn("memory_by_frames", frame).figure
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 3
    assert len(set(titles)) == 3


def test_an_automatic_batch_is_drawn_by_the_clip():
    records = [
        type(one)(
            **{f: getattr(one, f) for f in one.__struct_fields__ if f != "batch_size"},
            batch_size=size,
        )
        for one, size in zip(by_frames(batch_size="auto"), (64, 32, 16), strict=True)
    ]
    (axes,) = drawn("memory_by_frames", frame_of(*records)).figure.axes
    line = max(axes.lines, key=lambda line: len(line.get_xdata()))
    assert axes.get_ylabel() == "peak memory (GiB)"
    assert list(line.get_ydata()) == pytest.approx([8 / 64, 16 / 32, 32 / 16])


def test_measured_is_filled_estimated_hollow_published_a_grey_cross():
    frame = frame_of(*figure1_records())
    axes = drawn("figure1", frame).figure.axes[0]
    looks = {(line.get_marker(), line.get_markerfacecolor()) for line in axes.lines}
    assert ("o", canvas.PAPER) in looks
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert {line.get_color() for line in crosses} == {canvas.PUBLISHED}
    assert sum(len(line.get_xdata()) for line in crosses) == len(published.figure1())


def test_figure1_names_the_claims_and_scales_any_batch_to_128_clips():
    for batch_size in (8, 128):
        figure = drawn("figure1", frame_of(*figure1_records(batch_size=batch_size))).figure
        assert "40x" in texts(figure)
        assert "6x" in texts(figure)
        highest = max(
            max(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 4
        )
        assert highest == pytest.approx(4533 * 128 / 1024)


def test_the_attribution_draws_each_multiplier():
    figure = drawn("attribution", frame_of(*figure1_records())).figure
    assert any(text.startswith("x 89.9") for text in texts(figure))
    assert any(text.startswith("x 33.8") for text in texts(figure))


def test_captions_say_device_precision_batch_and_mode():
    for name in names(frame_of(*figure1_records())):
        caption = drawn(name, frame_of(*figure1_records())).caption
        assert "inference" in caption
        if name != "macs_by_frames":
            assert "bf16 autocast" in caption
            assert "batch 128" in caption


def test_labels_never_touch_and_keep_their_order():
    wanted = [3.0, 3.0, 3.1, 50.0, 99.0, 99.0]
    placed = canvas.spread(wanted, gap=10.0, low=0.0, high=100.0)
    assert all(b - a >= 10.0 - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[0] >= 0.0
    assert placed[-1] <= 100.0 + 1e-9


def test_names_that_no_font_can_show_are_drawn(recwarn):
    frame = frame_of(*by_frames("\u4e2d$\\alpha$ " + "long" * 30))
    (plot,) = choose(frame, ["memory_by_frames"])
    assert b"?$" in render(plot, frame).svg


def test_published_points_are_the_digitised_ones():
    table = published.figure1()
    assert len(table) == 16
    at = table.set_index(["model", "num_frames"])
    assert at.loc[(published.BASELINE, 64), "batch_ran"] == 12
    assert published.published_ratio("memory_gib") == pytest.approx(569.9 / 14.5)
    assert published.published_ratio("clips_per_s") == pytest.approx(34 / 5.9)


def test_lines_of_equal_work_name_every_power_of_ten():
    records = [
        record("a", t, {"latency_s": 0.1 * t, "macs": 10.0**9 * t}, device="cpu")
        for t in (1, 8, 64)
    ] + [record("b", t, {"latency_s": 1e-4 * t, "macs": 10.0**9 * t}) for t in (1, 8, 64)]
    named = {
        text
        for text in texts(drawn("throughput_by_macs", frame_of(*records)).figure)
        if text.endswith("FLOP/s")
    }
    assert {"10 GFLOP/s", "0.1 TFLOP/s", "10 TFLOP/s"} <= named
    assert not any(text.startswith("0 ") for text in named)
