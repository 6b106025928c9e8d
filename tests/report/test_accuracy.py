"""Reports of evaluations: accuracies with their intervals, beside what a video costs."""

import itertools
import json

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tests.cli.run import vbench
from tests.report import make_accuracy_golden
from tests.report.evaluated import cost, evaluation, motion, protocol, score
from tests.report.fabricate import record, write_run
from tests.report.make_accuracy_golden import published
from tests.report.test_document import HOSTILE, Page
from vbench.core.errors import UsageError
from vbench.report import accuracy, canvas
from vbench.report.accuracy.found import read_evaluations, to_frame
from vbench.report.accuracy.tables import accuracy_table, published_table, scores_table
from vbench.report.accuracy.words import flags, sentences
from vbench.report.figures import render
from vbench.report.plots import PLOTS


def rows_of(table):
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row, strict=True)) for row in table.rows]


def drawn(folders, points=(), *, plot="accuracy_by_macs"):
    frame = to_frame(read_evaluations(folders), points)
    with mpl.rc_context(canvas.STYLE):
        return PLOTS[plot].draw(frame).figure


def names_in(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]


@pytest.mark.parametrize("name", make_accuracy_golden.FILES)
def test_the_accuracy_report_is_the_golden_one(tmp_path, name):
    report = make_accuracy_golden.render(tmp_path)
    golden = make_accuracy_golden.FOLDER / name.rpartition("/")[2]
    assert (report / name).read_text("utf-8") == golden.read_text("utf-8"), (
        "if that is meant: python -m tests.report.make_accuracy_golden"
    )


def test_a_row_says_what_was_reached_how_surely_at_which_cost_and_how(tmp_path):
    folder = evaluation(
        tmp_path / "a",
        scores=[score(0.642, baseline=0.018)],
        cost=cost(36e9, 0.4, energy_per_video_j=7.0),
    )
    (row,) = rows_of(accuracy_table(read_evaluations([folder])))
    shown = {key: cell.text for key, cell in row.items()}
    assert shown["score"] == "64.2 %"
    assert shown["interval"] == "62.2 to 66.2"
    assert shown["baseline"] == "1.8 %"
    assert shown["macs_per_video"] == "36.0"
    assert shown["latency_per_video_s"] == "400 [380, 420]"
    assert shown["energy_per_video_j"] == "7.00"
    assert shown["protocol"] == "videomamba ssv2: 8x224, 1 clip x 3 crops"
    assert shown["checkpoint"].startswith("videomamba_tiny.pth (0123456789ab")
    assert (shown["date"], shown["device"]) == ("2026-11-22", "Some CPU @ 2.50GHz, fp32")
    assert row["score"].value == 0.642
    assert row["macs_per_video"].value == 36e9


def test_a_direction_stands_beside_its_controls_and_their_intervals(tmp_path):
    rows = rows_of(accuracy_table(read_evaluations([motion(tmp_path / "a", direction=0.93)])))
    (direction,) = [row for row in rows if row["metric"].text == "direction accuracy"]
    assert (direction["head"].text, direction["score"].text) == ("verb", "93.0 %")
    assert direction["interval"].text == "91.0 to 95.0"
    assert direction["score_shuffled"].text == "51.0 % [49.0 to 53.0]"
    assert direction["score_reversed"].text == "93.0 % [91.0 to 95.0]"
    assert direction["score_static"].text == "50.0 % [48.0 to 52.0]"
    assert direction["baseline"].text == "50.0 %"


def test_every_other_score_is_in_the_second_table_once(tmp_path):
    found = read_evaluations([motion(tmp_path / "a")])
    num_main = len(accuracy_table(found).rows)
    assert num_main == 3
    assert num_main + len(scores_table(found).rows) == len(found[0].summary.scores)
    clips = {row["clips"].text for row in rows_of(scores_table(found))}
    assert clips == {"as is", "shuffled", "reversed", "static"}


def test_the_best_comes_first_and_of_equals_the_cheapest(tmp_path):
    folders = [
        evaluation(tmp_path / name, name, scores=[score(value)], cost=cost(macs))
        for name, value, macs in (("dear", 0.6, 9e9), ("worst", 0.5, 1e9), ("cheap", 0.6, 2e9))
    ]
    rows = rows_of(accuracy_table(read_evaluations(folders)))
    assert [row["model"].text for row in rows] == ["cheap", "dear", "worst"]
    (sentence,) = sentences(read_evaluations(folders))
    assert "cheap reaches 60.0 % top-1 at 2.00 GMACs a video" in sentence
    assert "next dear" in sentence


def test_a_squared_error_is_no_percentage_and_the_lowest_is_best(tmp_path):
    folders = [
        evaluation(tmp_path / name, name, scores=[score(value, "mse", "value", half=0.1)])
        for name, value in (("worse", 2.5), ("better", 1.5))
    ]
    found = read_evaluations(folders)
    assert [row["score"].text for row in rows_of(accuracy_table(found))] == ["1.50", "2.50"]
    assert to_frame(found).empty


def test_each_head_of_a_dataset_has_a_panel(tmp_path):
    figure = drawn([motion(tmp_path / "a"), evaluation(tmp_path / "b")])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "motion test, verb, top-1",
        "motion test, noun, top-1",
        "motion test, verb, direction accuracy",
        "ssv2 validation, top-1",
    ]


def test_measured_points_are_filled_with_bars_and_published_ones_hollow_grey_and_apart(tmp_path):
    folder = evaluation(tmp_path / "a", scores=[score(0.64)], cost=cost(36e9))
    (axes,) = drawn([folder], [published(top1=0.651, macs_per_video=27e9)]).axes
    (measured,) = axes.containers
    point, _, (bar,) = measured
    assert list(point.get_xdata()) == [36.0]
    assert point.get_markerfacecolor() != canvas.PAPER
    assert bar.get_segments()[0][:, 1] == pytest.approx([62.0, 66.0])
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == canvas.PAPER]
    assert [(list(line.get_xdata()), line.get_color()) for line in hollow] == [
        ([27.0], canvas.PUBLISHED)
    ]
    assert {line.get_linestyle() for line in (point, *hollow)} == {"None"}


def test_published_points_need_the_same_dataset_and_views_and_a_published_protocol(tmp_path):
    points = [
        published(),
        published(dataset="kinetics400"),
        published(num_frames=16),
        published(num_clips=2),
        published(num_crops=1),
        published(size_px=288),
        published(frame_stride=4),
    ]
    preset = read_evaluations([evaluation(tmp_path / "a")])
    custom = read_evaluations([evaluation(tmp_path / "b", protocol=protocol("custom protocol"))])
    assert len(published_table(preset, points).rows) == 1
    assert (to_frame(preset, points)["kind"] == "published").sum() == 1
    assert not published_table(custom, points).rows
    assert (to_frame(custom, points)["kind"] == "measured").all()


def test_a_published_head_stands_in_its_own_panel(tmp_path):
    heads = [score(0.6, head="action"), score(0.7, head="verb"), score(0.65, head="noun")]
    folder = evaluation(tmp_path / "a", dataset="epic_kitchens100", scores=heads)
    point = published(dataset="epic_kitchens100", head="verb")
    frame = to_frame(read_evaluations([folder]), [point, published(dataset="epic_kitchens100")])
    (panel,) = frame.loc[frame["kind"] == "published", "panel"]
    assert panel == "epic_kitchens100 validation, verb, top-1"


def test_the_baseline_is_a_dotted_line_and_named_in_the_key(tmp_path):
    near = drawn([evaluation(tmp_path / "a", scores=[score(0.53, baseline=0.5)])])
    far = drawn([evaluation(tmp_path / "b", scores=[score(0.7, baseline=0.018)])])

    def key(figure):
        return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]

    def levels(figure):
        return [line.get_ydata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 2]

    assert (levels(near), levels(far)) == ([50.0], [])
    assert key(near)[-1] == "baseline 50 %"
    assert key(far)[-1] == "baseline 1.8 %, below"


def test_an_evaluation_without_a_cost_is_in_the_table_and_said_to_be_in_no_figure(tmp_path):
    folders = [
        evaluation(tmp_path / "a", "known"),
        evaluation(tmp_path / "b", "free", cost=None),
        evaluation(tmp_path / "c", "nothing", cost=cost(0.0)),
    ]
    found = read_evaluations(folders)
    assert len(accuracy_table(found).rows) == 3
    with mpl.rc_context(canvas.STYLE):
        figure = PLOTS["accuracy_by_macs"].draw(to_frame(found)).figure
    assert names_in(figure) == ["known"]
    raised = {flag.topic: flag.text for flag in flags(found)}
    assert "free" in raised["no cost"]
    assert "nothing" in raised["no cost"]


def test_warnings_alike_are_said_once_and_other_videos_and_devices_are_told(tmp_path):
    warning = "custom protocol: not comparable with published numbers"
    folders = [
        evaluation(tmp_path / "a", "one", warnings=[warning]),
        evaluation(
            tmp_path / "b",
            "two",
            warnings=[warning],
            subset_sha256="c" * 64,
            cost=cost(device_name="NVIDIA L4"),
        ),
    ]
    raised = {flag.topic: flag.text for flag in flags(read_evaluations(folders))}
    assert raised["custom protocol"].endswith("one on ssv2 validation, two on ssv2 validation")
    assert "2 different subsets" in raised["other videos"]
    assert "NVIDIA L4" in raised["several devices"]


def test_latencies_of_two_devices_share_no_panel_and_a_lone_model_has_none(tmp_path):
    settings = (
        ("one", 0.2, "CPU"), ("two", 0.4, "CPU"),
        ("three", 0.01, "GPU"), ("four", 0.02, "GPU"), ("lone", 0.03, "other"),
    )  # fmt: skip
    folders = [
        evaluation(tmp_path / name, name, cost=cost(1e9, latency_s, device_name=device))
        for name, latency_s, device in settings
    ]
    figure = drawn(folders, [published()], plot="accuracy_by_latency")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["ssv2 validation, top-1, CPU", "ssv2 validation, top-1, GPU"]
    assert sorted(names_in(figure)) == ["four", "one", "three", "two"]
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "latency of all views of a video (ms)"
    ] * 2
    assert not PLOTS["accuracy_by_latency"].applies(to_frame(read_evaluations(folders[-1:])))


def test_names_in_a_crowded_figure_touch_neither_each_other_nor_markers(tmp_path):
    models = [
        ("videomamba_tiny", 0.651, 102e9), ("videomamba_small", 0.667, 408e9),
        ("videomamba_middle", 0.684, 1215e9), ("uniformer_small", 0.677, 125e9),
        ("uniformer_base", 0.704, 290e9), ("timesformer_base", 0.595, 590e9),
        ("slowfast_r50_8x8", 0.619, 197e9), ("video_swin_base", 0.696, 963e9),
        ("mvitv2_small", 0.682, 194e9), ("videomae_base", 0.708, 1080e9),
    ]  # fmt: skip
    folders = [
        evaluation(tmp_path / name, name, name.partition("_")[0], [score(value)], cost=cost(macs))
        for name, value, macs in models
    ]
    figure = drawn(folders)
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    texts = [text for text in axes.texts if text.get_text()]
    assert sorted(text.get_text() for text in texts) == sorted(name for name, _, _ in models)
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    markers = [axes.transData.transform((macs / 1e9, 100 * value)) for _, value, macs in models]
    assert not [at for at in markers for box in boxes if box.contains(*at)]


def test_a_published_name_without_room_is_left_out_and_its_point_is_not(tmp_path):
    folder = evaluation(tmp_path / "a", scores=[score(0.65)], cost=cost(27e9))
    points = [published(model=f"crowd {i}", top1=0.65 + 0.0004 * i) for i in range(30)]
    (axes,) = drawn([folder], points).axes
    named = [text.get_text() for text in axes.texts if text.get_text()]
    assert "videomamba_tiny" in named
    assert len(named) < 20
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == canvas.PAPER]
    assert len(hollow) == 30


def test_the_same_evaluations_give_the_same_bytes(tmp_path):
    frame = to_frame(read_evaluations([motion(tmp_path / "a")]), [published()])
    first, second = (render(PLOTS["accuracy_by_macs"], frame) for _ in range(2))
    assert (first.svg, first.png) == (second.svg, second.png)
    assert 'role="img" aria-label="Accuracy by operations"' in first.inline


def test_whatever_a_summary_holds_is_shown_as_text(tmp_path):
    folder = evaluation(
        tmp_path / "a", HOSTILE, HOSTILE, [score(0.5, head=HOSTILE), score(0.4, condition=HOSTILE)],
        warnings=[HOSTILE], checkpoint=HOSTILE, split=HOSTILE, evaluated_at_utc=HOSTILE,
    )  # fmt: skip
    accuracy.render([folder], tmp_path / "report", title=HOSTILE)
    page = Page((tmp_path / "report" / "index.html").read_text("utf-8"))
    assert page.tags.count("script") == 1
    assert "<script>" not in (tmp_path / "report" / "README.md").read_text("utf-8")


def test_sweeps_follow_in_the_same_report(tmp_path):
    sweep = write_run(
        tmp_path / "sweep",
        [record("swept", t, {"latency_s": [0.01 * t] * 10}) for t in (8, 16)],
    )
    report = accuracy.render([sweep, evaluation(tmp_path / "a")], tmp_path / "report")
    names = {path.name for path in report.paths}
    assert {"accuracy_by_macs.svg", "throughput_by_frames.svg", "accuracy.csv", "all.csv"} <= names
    page = (tmp_path / "report" / "README.md").read_text("utf-8")
    assert page.index("## Accuracy by operations") < page.index("## Results")
    assert "vbench sweep" in page
    assert "| swept " in page


def test_a_summary_of_an_earlier_version_is_read(tmp_path):
    folder = evaluation(tmp_path / "a")
    path = folder / "summary.json"
    kept = json.loads(path.read_text("utf-8"))
    for key in ("family", "evaluated_at_utc", "cost"):
        del kept[key]
    for one in kept["scores"]:
        del one["condition"]
    path.write_text(json.dumps(kept))
    (row,) = rows_of(accuracy_table(read_evaluations([folder])))
    assert (row["family"].text, row["date"].text) == ("videomamba_tiny", "")


def test_an_unfinished_evaluation_is_refused_with_how_to_go_on(tmp_path):
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(UsageError, match="no summary at") as caught:
        accuracy.render([tmp_path], tmp_path / "report")
    assert "goes on" in (caught.value.hint or "")


def test_the_command_tells_evaluations_from_sweeps_and_finds_published_points(tmp_path):
    folder = evaluation(
        tmp_path / "a",
        "videomamba_tiny",
        protocol=protocol("videomamba ssv2", frames=8, clips=2, crops=3),
    )
    done = vbench("report", folder, "--out", tmp_path / "report", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["sentences"][0].startswith("ssv2 validation: videomamba_tiny reaches 65.0 %")
    rows = (tmp_path / "report" / "tables" / "published.csv").read_text("utf-8")
    assert "VideoMamba-Ti,ssv2,8,224,2,3,0.651" in rows
