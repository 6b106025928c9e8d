import html.parser
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.report import make_golden
from tests.report.fabricate import (
    GPU,
    environment,
    figure1_records,
    record,
    write_run,
)
from vbench.core.errors import StoreError, UsageError
from vbench.report.document import read_frame, render

HOSTILE = "<script>alert(1)</script>|`x`\n$\\frac{a}$ \"q\" 'r' & \u4e2d \x1b[31m \u202e"


class Page(html.parser.HTMLParser):
    """Collects tags and attributes, and checks that elements are closed in order."""

    VOID = ("meta", "path", "use", "rect", "br")

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        self.ids += [value for key, value in attrs if key == "id"]
        assert not [key for key, _ in attrs if key.startswith("on")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def simple(**changes):
    return [
        record("a", t, {"latency_s": [0.01 * t] * 10, "peak_allocated_bytes": 2**30 * t}, **changes)
        for t in (8, 16, 32)
    ]


def rendered(tmp_path, records, **asked):
    report = render([write_run(tmp_path / "results", records)], tmp_path / "report", **asked)
    return report, (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_a_report_holds_pages_figures_tables_and_what_it_was_made_from(tmp_path):
    report, _ = rendered(tmp_path, simple())
    names = {str(path.relative_to(tmp_path / "report")) for path in report.paths}
    assert {"README.md", "index.html", "report.toml", "figures/memory_by_frames.svg"} <= names
    assert {"figures/memory_by_frames.png", "tables/main.csv", "tables/cases.csv"} <= names
    assert all(path.is_file() for path in report.paths)
    manifest = tomllib.loads((tmp_path / "report" / "report.toml").read_text())
    assert manifest["runs"][0]["records"] == 3
    assert "figures/memory_by_frames.svg" in manifest["files"]


def test_rendering_twice_gives_the_same_bytes(tmp_path):
    run = write_run(tmp_path / "results", [*figure1_records(), *simple()])
    first = {p.name: p.read_bytes() for p in render([run], tmp_path / "report").paths}
    second = {p.name: p.read_bytes() for p in render([run], tmp_path / "report").paths}
    assert first == second


@pytest.mark.parametrize("name", ["README.md", "main.csv"])
def test_the_report_is_the_golden_one(tmp_path, name):
    report = make_golden.render(tmp_path)
    folder = report if name == "README.md" else report / "tables"
    expected = (make_golden.FOLDER / name).read_text(encoding="utf-8")
    assert (folder / name).read_text(encoding="utf-8") == expected, (
        "if that is meant: python -m tests.report.make_golden"
    )


def test_the_page_is_whole_needs_no_network_and_has_unique_ids(tmp_path):
    _, text = rendered(tmp_path, figure1_records())
    page = Page(text)
    assert page.tags.count("svg") >= 4
    assert all(reference.startswith("#") for reference in page.references)
    assert not re.search(r"(?:https?:)?//[a-z]", text)
    assert len(page.ids) == len(set(page.ids))
    for reference in re.findall(r"(?:url\(|href=\")#([\w.-]+)", text):
        assert reference in page.ids


def test_hostile_text_reaches_no_page_as_markup(tmp_path):
    bad = record(HOSTILE, status="error", error=HOSTILE, run_id=HOSTILE, notes={HOSTILE: HOSTILE})
    good = [
        record(
            HOSTILE,
            t,
            {"latency_s": 1.0 * t, "evil<b>_bytes": 1.0},
            environment=environment(HOSTILE),
        )
        for t in (8, 16)
    ]
    run = write_run(tmp_path / "results", [bad, *good], spec=f'title = "x"\n# {HOSTILE!r}\n')
    render([run], tmp_path / "report", title=HOSTILE)
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert Page(text).tags.count("script") == 1
    readme = (tmp_path / "report" / "README.md").read_text(encoding="utf-8")
    assert "<script" not in readme.replace(f"# {HOSTILE!r}", "")
    assert "\x1b" not in text + readme.replace(f"# {HOSTILE!r}", "")
    assert "\u202e" not in text


def test_only_failures_make_a_report_that_says_so(tmp_path):
    report, text = rendered(tmp_path, [record(status="oom", error="no memory left")])
    assert report.sentences == ("None of 1 points finished: 1 out of memory.",)
    assert "no memory left" in text
    assert not list((tmp_path / "report").glob("figures/*"))


def test_torn_lines_are_told(tmp_path):
    run = write_run(tmp_path / "results", simple(), tail=b'{"schema_version":1,"run')
    render([run], tmp_path / "report")
    assert "on lines 4" in (tmp_path / "report" / "README.md").read_text()


def test_runs_are_read_together_and_a_folder_named_twice_once(tmp_path):
    one = write_run(tmp_path / "one", simple())
    two = write_run(tmp_path / "two", simple(environment=environment("A100")))
    frame = read_frame([one, two, one / "." / ".." / "one"])
    assert set(frame["place"]) == {GPU, "A100"}
    assert (frame[frame["place"] == GPU]["num_processes"] == 1).all()


def test_a_missing_folder_and_an_empty_one_are_said_to_be_so(tmp_path):
    with pytest.raises(UsageError, match="no records at"):
        render([tmp_path / "nothing"], tmp_path / "report")
    with pytest.raises(UsageError, match="no finished case in"):
        render([write_run(tmp_path / "empty", [])], tmp_path / "report")
    with pytest.raises(UsageError, match="no results folder was named"):
        render([], tmp_path / "report")


def test_another_schema_is_refused(tmp_path):
    run = write_run(tmp_path / "results", [record(schema_version=99)])
    with pytest.raises(UsageError, match="record schema 99"):
        render([run], tmp_path / "report")


def test_an_unknown_plot_names_the_nearest(tmp_path):
    run = write_run(tmp_path / "results", simple())
    with pytest.raises(UsageError, match="unknown plot: memory_by_frame") as raised:
        render([run], tmp_path / "report", plots=["memory_by_frame"])
    assert raised.value.hint == "did you mean `memory_by_frames`?"


def test_a_report_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "report").write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot write the report to"):
        render([write_run(tmp_path / "results", simple())], tmp_path / "report")


def test_the_specs_plots_and_title_are_taken_unless_others_are_asked_for(tmp_path):
    spec = 'title = "My sweep"\nplots = ["throughput_by_frames"]\n'
    run = write_run(tmp_path / "results", simple(), spec=spec)
    render([run], tmp_path / "report")
    assert [p.stem for p in (tmp_path / "report/figures").glob("*.svg")] == ["throughput_by_frames"]
    assert (tmp_path / "report/README.md").read_text().startswith("# My sweep\n")
    render([run], tmp_path / "report", plots=["memory_by_frames"], title="Other")
    assert [p.stem for p in (tmp_path / "report/figures").glob("*.svg")] == ["memory_by_frames"]
    assert (tmp_path / "report/README.md").read_text().startswith("# Other\n")


def test_rendering_again_removes_its_own_old_files_and_no_others(tmp_path):
    run = write_run(tmp_path / "results", simple())
    out = tmp_path / "report"
    render([run], out)
    (out / "figures/mine.svg").write_text("kept")
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    manifest = out / "report.toml"
    manifest.write_text(manifest.read_text().replace('files = ["', 'files = ["../precious.txt", "'))
    render([run], out, plots=["memory_by_frames"])
    assert sorted(p.name for p in (out / "figures").iterdir()) == [
        "memory_by_frames.png",
        "memory_by_frames.svg",
        "mine.svg",
    ]
    assert precious.exists()


def test_a_spec_that_is_not_toml_is_shown_and_does_no_harm(tmp_path):
    run = write_run(tmp_path / "results", simple(), spec="this is = not = toml ```")
    render([run], tmp_path / "report")
    assert "not = toml" in (tmp_path / "report/README.md").read_text()


def test_the_report_room_loads_no_torch_and_no_command_line():
    code = (
        "import sys, vbench.report.document, vbench.report.plots as p; list(p.PLOTS);"
        "print([m for m in ('torch', 'model_zoo', 'typer', 'rich', 'vbench.measure',"
        " 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_thousand_records_are_rendered_in_seconds(tmp_path):
    metrics = {
        "latency_s": [0.01 * (1 + 0.001 * (i % 7)) for i in range(50)],
        **{f"metric_{i}_bytes": float(i) for i in range(12)},
        "peak_allocated_bytes": 2.0**30,
        "macs": 1e9,
    }
    records = [
        record(f"model_{m}", t, metrics, attention=a, precision=p, repeat=r)
        for m in range(8)
        for t in (4, 8, 16, 32, 48, 64, 96, 128)
        for a in ("eager", "sdpa")
        for p in ("fp32", "bf16")
        for r in range(4)
    ]
    assert len(records) >= 1000
    run = write_run(tmp_path / "results", records)
    plots = ["memory_by_frames", "throughput_by_frames", "macs_by_frames", "throughput_by_macs"]
    render([write_run(tmp_path / "warm", simple())], tmp_path / "warm_report")  # imports, fonts
    start = time.process_time()
    render([run], tmp_path / "report", plots=plots)
    # 3 s on an idle machine; neighbours on the same cores inflate even CPU time.
    assert time.process_time() - start < 6
    assert (tmp_path / "report/index.html").stat().st_size < 8e6


def test_the_files_of_a_report_are_where_it_says(tmp_path):
    report, _ = rendered(tmp_path, simple())
    on_disk = {p for p in (tmp_path / "report").rglob("*") if p.is_file()}
    assert on_disk == set(map(Path, report.paths))
