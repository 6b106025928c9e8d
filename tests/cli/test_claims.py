"""`vbench claims` end to end, with the claim that costs least."""

import json

import pytest

from tests.cli.run import vbench


@pytest.mark.slow
def test_a_claim_is_tested_resumed_and_reported(tmp_path):
    arguments = ["claims", "videomamba_cost", "--results", tmp_path / "results"]
    done = vbench(*arguments, "--out", tmp_path / "report", "--json")
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads(done.stdout)["claims"]
    verdicts = {part["part"]: part["verdict"] for part in claim["parts"]}
    assert verdicts == {
        "vivit_large": "holds",
        "vivit_large_by_2": "holds only if",
        "uniformer_base": "does not hold",
    }
    assert (tmp_path / "report" / "index.html").is_file()
    again = vbench(*arguments)
    assert again.returncode == 0, again.stderr
    assert "6 points, 6 of them done before" in again.stderr
    assert again.stdout.splitlines()[0].split("\t")[:3] == ["claim", "says", "verdict"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["claims", "growht"], 2, "unknown claim: growht"),
        (["claims", "growth", "--device", "cpu"], 2, "claims speak of GPUs"),
        (["claims", "growth", "--device", "cuda:9"], 3, "no CUDA device 9"),
    ],
)
def test_a_wrong_request_takes_no_points(arguments, code, message, tmp_path):
    done = vbench(*arguments, "--results", tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
