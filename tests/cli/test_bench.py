"""`vbench bench kernels` as it is typed; the numbers are tested with fakes in tests/measure."""

import json

import pytest

from tests.cli.run import vbench
from vbench.core.bench import read


@pytest.mark.slow
def test_a_quick_bench_writes_records_a_report_and_one_table(tmp_path):
    out, report = tmp_path / "records", tmp_path / "report"
    arguments = ("bench", "kernels", "--quick", "--kernel", "bi_wkv", "--out", out)
    done = vbench(*arguments, "--report", report)
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split("\t")[:5] == ["kernel", "batch", "tokens", "threads", "form"]
    records = read(out)
    assert len(lines) == sum(len(record.contenders) for record in records)
    assert (report / "README.md").exists()
    again = vbench(*arguments, "--json")  # written anew, not appended
    assert [record["kernel"] for record in json.loads(again.stdout)["records"]] == [
        record.kernel for record in read(out)
    ]
    assert len(read(out)) == len(records)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("models",), 2, "nothing to time by that name: models"),
        (("kernels", "--kernel", "x"), 2, "unknown kernel: x"),
        (("kernels", "--threads", "100000"), 2, "not: 100000"),
        (("kernels", "--threads", "1,0"), 2, "not: 0"),
        (("kernels", "--threads", "1,two"), 2, "--threads wants whole numbers, not: 'two'"),
    ],
)
def test_a_wrong_request_ends_with_its_own_code_and_writes_nothing(
    tmp_path, arguments, code, message
):
    done = vbench("bench", *arguments, "--out", tmp_path / "none")
    assert done.returncode == code
    assert message in done.stderr
    assert not done.stdout
    assert not (tmp_path / "none").exists()


def test_records_of_a_sweep_are_not_written_over(tmp_path):
    kept = '{"schema_version": 1, "case": {}}\n'
    (tmp_path / "records.jsonl").write_text(kept)
    done = vbench("bench", "kernels", "--quick", "--kernel", "bi_wkv", "--out", tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "records.jsonl").read_text() == kept
