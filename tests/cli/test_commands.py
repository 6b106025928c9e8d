"""Commands as a user meets them: data on stdout, errors on stderr, telling exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.run import ROOT, vbench


def test_models_are_listed_whole_in_a_pipe():
    done = vbench("models", "videomamba_*")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][0] == "model"
    assert "videomamba_tiny" in [line[0] for line in lines]
    assert done.stderr == ""


def sections(text: str) -> list[list[dict[str, str]]]:
    """Tables of a pipe, which an empty line tells apart, as a list of rows each."""
    tables = [block.split("\n") for block in text.rstrip("\n").split("\n\n")]
    return [
        [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]
        for head, *lines in tables
    ]


def test_show_tells_where_a_model_comes_from_and_what_was_printed_and_released():
    facts, published, released = sections(vbench("show", "timesformer_base").stdout)
    assert {"fact": "paper", "value": "arXiv:2102.05095"} in facts
    counts = {(r["frames"], r["px"], r["published"]) for r in published if r["metric"] == "macs"}
    assert ("8", "224", "196 G") in counts
    assert all(row["source"] for row in published)
    assert "TimeSformer_divST_8x32_224_K400.pyth" in {row["file"] for row in released}
    assert all(row["licence"] for row in released)


def test_show_of_a_family_lists_its_variants():
    _, variants, *_ = sections(vbench("show", "timesformer").stdout)
    by_name = {row["model"]: row for row in variants}
    assert by_name["timesformer_base"]["parameters published"] == "121.4 M, 122 M"
    assert by_name["timesformer_hr"]["clip"] == "16 frames of 448x448"


def test_show_as_json_holds_values_in_base_units():
    shown = json.loads(vbench("show", "timesformer_base", "--json").stdout)
    printed = {row["printed"]: row["value"] for row in shown["published"]}
    assert printed["0.59 T"] == pytest.approx(0.59e12)
    assert shown["checkpoints"][0]["variant"] == "timesformer_base"


def test_second_hand_numbers_are_never_shown_as_published():
    shown = vbench("show", "lcr")
    assert shown.returncode == 0, shown.stderr
    assert "lcr_jester" in shown.stdout
    assert "90.83" not in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["show", "videomamba_tin"], 2, "unknown model: videomamba_tin", "videomamba_tiny"),
        (["models", "nothing*"], 2, "no model matches: nothing*", "vbench models"),
        (["profile", "videomamba_tni"], 2, "unknown model", "videomamba_"),
        (["profile", "videomamba_tiny", "--batch-size", "0"], 2, "batch_sizes", None),
        (["profile", "videomamba_tiny", "--frames", "x"], 2, "--frames wants whole numbers", None),
        (["profile", "videomamba_tiny", "--frames", "4,8"], 2, "asks for: 2", "vbench sweep"),
        (["profile", "videomamba_tiny", "--precision", "fp8"], 2, "fp8", None),
        (["profile", "videomamba_tiny", "--device", "cuda:9"], 3, "no CUDA device 9", "meta"),
        (["sweep"], 2, "nothing to sweep", "figure1"),
        (["sweep", "figure9"], 2, "no such spec: figure9", "figure1"),
        (["sweep", "--model", "no_*"], 2, "no model matches: no_*", "vbench models"),
        (["report", "no/such/run"], 2, "no", None),
    ],
)
def test_a_wrong_request_is_one_clear_error(arguments, code, message, hint):
    done = vbench(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert message in done.stderr
    assert hint is None or hint in done.stderr


def test_an_input_the_model_cannot_take_names_what_it_allows():
    done = vbench("profile", "clip_vit_base_16", "--frames", "4", "--device", "meta")
    assert done.returncode == 2
    assert "1" in done.stderr
    assert "Traceback" not in done.stderr


def test_profile_on_meta_prints_a_card_with_a_column_a_kind():
    done = vbench("profile", "videomamba_tiny", "--device", "meta", "--frames", "8")
    assert done.returncode == 0, done.stderr
    header, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    gpu = "estimated for NVIDIA H100 80GB HBM3"
    assert header == ["quantity", "measured", "counted", gpu, "published"]
    rows = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    assert rows["parameters"]["counted"] == "7.03 M"
    assert rows["MACs a clip, exact"]["counted"] == "11.7 G"
    assert rows["peak memory allocated"]["measured"] == ""
    assert rows["peak memory allocated"][gpu].endswith("MiB")
    assert rows["latency a batch"][gpu]
    assert rows["parameters"]["published"].startswith("7 M (")
    assert rows["MACs a clip, exact"]["published"] == "9 G (arXiv:2403.06977)"


def test_profile_as_json_is_one_document_on_stdout():
    done = vbench(
        "profile", "timesformer_tiny", "--device", "cpu", "--frames", "2", "--resolution", "32",
        "--seconds", "0.2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    kinds = {(row["source"], row["kind"]) for row in card["summary"]}
    assert {("latency_s", "measured"), ("macs", "counted"), ("fvcore_macs", "counted")} <= kinds
    assert ("thop_macs", "counted") in kinds


@pytest.mark.slow
def test_a_sweep_resumes_and_redoes_nothing_then_reports(tmp_path):
    run, page = tmp_path / "run", tmp_path / "page"
    first = vbench("sweep", "smoke", "--out", run)
    assert first.returncode == 0, first.stderr
    stored = (run / "records.jsonl").read_bytes()
    again = vbench("sweep", "smoke", "--out", run, "--json")
    assert "4 of them done before" in again.stderr
    assert (run / "records.jsonl").read_bytes() == stored
    assert len(json.loads(again.stdout)["records"]) == 4
    drawn = vbench("report", run, "--out", page)
    assert drawn.returncode == 0, drawn.stderr
    assert (page / "index.html").is_file()
    assert (page / "README.md").is_file()


def test_a_failing_case_is_a_record_and_exit_one_and_the_rest_is_measured(tmp_path):
    done = vbench(
        "sweep", "-m", "clip_vit_base_16", "-m", "videomamba_tiny", "--frames", "4",
        "--resolution", "32", "--device", "meta", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "1 of 2 points have no measurement" in done.stderr
    lines = (tmp_path / "run" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["unsupported", "ok"]


def test_two_sweeps_on_one_folder_the_second_is_refused(tmp_path):
    from vbench.core.store import RunWriter

    with RunWriter(tmp_path / "run"):
        done = vbench("sweep", "smoke", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "another sweep is writing" in done.stderr


def test_a_folder_that_cannot_be_written_is_exit_three(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = vbench("sweep", "smoke", "--out", tmp_path / "file" / "run")
    assert done.returncode == 3
    assert "cannot write results" in done.stderr


def test_dry_run_lists_the_points_and_writes_nothing(tmp_path):
    done = vbench("sweep", "figure1", "--dry-run", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 1 + 5 * 8
    assert list(tmp_path.iterdir()) == []


def test_doctor_tells_what_can_be_measured():
    findings = json.loads(vbench("doctor", "--json").stdout)
    by_topic = {finding["topic"]: finding for finding in findings}
    assert by_topic["operations and estimates"]["available"]
    assert all(f["hint"] for f in findings if not f["available"])


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_is_ended_leaves_no_process_and_goes_on_where_it_was(tmp_path, signum):
    # Points enough that the signal finds it at work on a busy machine too.
    asked = ["sweep", "smoke", "--frames", "2,3,4,5", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "vbench", *asked]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # A shell starts background jobs deaf to SIGINT, and what they start inherits it.
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as sweep:
        records = tmp_path / "run" / "records.jsonl"
        deadline = time.monotonic() + 120
        while not (records.exists() and records.read_bytes().count(b"\n") >= 1):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sweep.send_signal(signum)
        _, errors = sweep.communicate(timeout=60)
    if signum == signal.SIGINT:
        assert sweep.returncode == 130
        assert b"the same command goes on" in errors
    time.sleep(1.0)
    assert workers_of(tmp_path) == []
    kept = records.read_bytes()
    again = vbench(*asked)
    assert again.returncode == 0, again.stderr
    assert records.read_bytes().startswith(kept)
    ids = [json.loads(line)["case_id"] for line in records.read_text("utf-8").splitlines()]
    assert len(ids) == len(set(ids)) == 8


def workers_of(folder) -> list[str]:
    """Command lines of measuring processes that still have a file open under `folder`."""
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    return [
        line
        for line in listing.stdout.splitlines()
        if "vbench.measure.forkserver" in line and line.split()[1] == "1"
    ]
