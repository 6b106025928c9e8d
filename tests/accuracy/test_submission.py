"""The result file of EPIC-KITCHENS-100 holds what the official script would write."""

import json
import zipfile

import msgspec
import numpy as np
import pytest
from scipy.special import softmax

from tests.accuracy.fabricate import action, failure
from tests.accuracy.films import write_video
from tests.accuracy.test_datasets import put_epic
from tests.cli.run import vbench
from vbench.accuracy import submission
from vbench.accuracy.scoring import log_probabilities
from vbench.core.errors import UsageError

VIEWS = {
    "verb": np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]),
    "noun": np.array([[0.0, 1.0], [5.0, 0.0]]),
}
COLUMNS = {"verb": (2, 0, 1), "noun": (0, 1)}


def test_softmax_of_what_is_kept_gives_the_averaged_probabilities():
    kept = log_probabilities(VIEWS, COLUMNS, "probability_mean")
    for head, places in COLUMNS.items():
        expected = softmax(VIEWS[head][:, places], axis=1).mean(axis=0)
        assert softmax(kept[head]) == pytest.approx(expected, rel=1e-6)


def test_a_result_file_has_the_official_form(tmp_path):
    kept = log_probabilities(VIEWS, COLUMNS, "probability_mean")
    records = [
        msgspec.structs.replace(action(key, 1, 0, 1, 0), log_probabilities=kept)
        for key in ("P18_02_7", "P01_11_0")
    ]
    path = tmp_path / "scores.zip"
    assert submission.write(path, [*records, failure("P01_11_1", 0)]) == 2
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["test.json"]
        document = json.loads(archive.read("test.json"))
    assert {name: document[name] for name in ("version", "challenge", "sls_pt", "sls_tl")} == {
        "version": "0.2", "challenge": "action_recognition", "sls_pt": 2, "sls_tl": 3,
    }  # fmt: skip
    assert list(document["results"]) == ["P01_11_0", "P18_02_7"]
    segment = document["results"]["P01_11_0"]
    assert {head: list(scores) for head, scores in segment.items()} == {
        "verb": ["0", "1", "2"], "noun": ["0", "1"],
    }  # fmt: skip
    assert segment["verb"]["1"] == kept["verb"][1]


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(UsageError, match="hold no probabilities"):
        submission.write(tmp_path / "scores.zip", [action("a", 0, 0, 0, 0)])
    with pytest.raises(UsageError, match="not for: ssv2"):
        submission.refuse("ssv2", tmp_path / "scores.zip")
    with pytest.raises(UsageError, match="no such folder"):
        submission.refuse("epic_kitchens100", tmp_path / "gone" / "scores.zip")


@pytest.mark.slow
def test_the_command_writes_a_result_file_of_every_segment_that_was_read(tmp_path):
    put_epic(tmp_path)
    for name in ("P01_11_0", "P18_02_7"):
        write_video(tmp_path / f"{name}.mp4", 6)
    path = tmp_path / "scores.zip"
    done = vbench(
        "eval", "tests.accuracy.tiny:two_heads", "--dataset", "epic_kitchens100", "--root",
        str(tmp_path), "--random-weights", "--frames", "4", "--resolution", "32", "--device",
        "cpu", "--no-cost", "--workers", "1", "--out", str(tmp_path / "run"),
        "--submission", str(path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"scores of 2 segments: {path}" in done.stderr
    with zipfile.ZipFile(path) as archive:
        results = json.loads(archive.read("test.json"))["results"]
    assert {key: (len(s["verb"]), len(s["noun"])) for key, s in results.items()} == {
        "P01_11_0": (2, 3), "P18_02_7": (2, 3),
    }  # fmt: skip
