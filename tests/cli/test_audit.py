"""`vbench audit` from the command line to the report, with everything counted for real."""

import json

import pytest

from tests.cli.run import vbench


@pytest.mark.slow
def test_an_audit_counts_explains_reports_and_resumes(tmp_path):
    asked = (
        "audit",
        "c3d",
        "tsm_r50",
        "--results",
        tmp_path / "results",
        "--out",
        tmp_path / "out",
    )
    done = vbench(*asked, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    verdicts = {(r["printed"]["case"]["model"], r["printed"]["text"]): r for r in found["rows"]}
    assert verdicts["c3d", "38.5 G"]["verdict"] == ["equal"]
    assert verdicts["c3d", "78.4 M"]["ratio"] == pytest.approx(1.0, abs=0.01)
    assert all(row["record"] for row in found["rows"])
    assert "published operation counts of 2 models" in found["sentences"][0]
    for name in ("README.md", "index.html", "tables/audit.csv", "tables/counters.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    records = (tmp_path / "results" / "audit" / "records.jsonl").read_bytes()
    again = vbench(*asked)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "results" / "audit" / "records.jsonl").read_bytes() == records
    header, *lines = [line.split("\t") for line in again.stdout.splitlines()]
    assert header[:3] == ["model", "source", "printed"]
    assert len(lines) == len(found["rows"])


def test_a_model_without_published_counts_is_refused(tmp_path):
    done = vbench("audit", "clip_vit_base_16", "--results", tmp_path)
    assert done.returncode == 2
    assert "nothing is published of: clip_vit_base_16" in done.stderr
    assert done.stdout == ""
