"""`vbench train` and `vbench eval` on the motion benchmark, from nothing to a judged score."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.cli.run import vbench
from vbench.accuracy.motion import build
from vbench.cli.app import app


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A folder for a copy of 24 clips a list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SIZES", {"small": (24, 24)})
        yield tmp_path_factory.mktemp("few")


def invoked(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_model_is_trained_resumed_and_scored(few, tmp_path):
    out = tmp_path / "fit"
    asked = ("train", "vivit_nano", "--root", few / "copy", "--batch-size", 4, "--steps", 2,
             "--device", "cpu", "--out", out, "--json")  # fmt: skip
    done = invoked(*asked)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["steps"] == 2
    assert (out / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert (out / "losses.csv").read_text().splitlines()[0].startswith("step,loss,verb_loss")
    weights = load_file(out / "model.safetensors")
    again = invoked(*asked)
    assert again.exit_code == 0
    for name, tensor in load_file(out / "model.safetensors").items():
        assert torch.equal(tensor, weights[name])
    other = invoked(*[x if x != 2 else 3 for x in asked])
    assert other.exit_code != 0
    assert "holds another fit" in str(other.exception)

    scored = invoked("eval", "vivit_nano", "--root", few / "copy", "--checkpoint",
                     out / "model.safetensors", "--device", "cpu", "--no-cost", "--json",
                     "--out", tmp_path / "run")  # fmt: skip
    assert scored.exit_code == 0, scored.output
    scores = json.loads(scored.stdout)["summary"]["scores"]
    conditions = {score["condition"] for score in scores if score["metric"] == "direction"}
    assert conditions == {"", "shuffled", "reversed", "static"}
    by_head = {s["head"]: s["num_videos"] for s in scores if s["metric"] == "top1"}
    assert by_head == {"verb": 24, "noun": 24, "action": 24}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "vivit_nano", "--dataset", "ssv2"), "only motion can be trained on"),
        (("train", "timesformer_base"), "no heads for: verb, noun"),
        (("eval", "timesformer_base", "--dataset", "ssv2"), "trained weights"),
        (("eval", "missing_nano", "--root", "nowhere"), "unknown model: missing_nano"),
        (
            ("eval", "vivit_nano", "--root", "nowhere", "--split", "extended"),
            "vivit_nano.safetensors tells apart 12 verbs, 8 nouns, the list extended has: 20 verbs",
        ),
        (("eval", "../vivit_nano", "--root", "nowhere"), "unknown model: ../vivit_nano"),
        (("data", "make", "ssv2"), "is not made here"),
        (("data", "make", "motion", "--size", "huge", "--root", "x"), "no size huge"),
        (("train", "vivit_nano", "--batch-size", "3"), "no such recipe"),
        (("train", "vivit_nano", "--split", "easy"), "no list to train on: easy"),
    ],
)
def test_a_wrong_request_says_what_was_wanted(few, arguments, words, tmp_path):
    more = () if "eval" in arguments or "data" in arguments else ("--root", few / "copy")
    done = invoked(*arguments, *more)
    assert getattr(done.exception, "exit_code", None) == 2, done.output
    assert words in str(done.exception)


def trained_on(split, few, out):
    done = invoked("train", "vivit_nano", "--root", few / "copy", "--batch-size", 4, "--steps", 1,
                   "--device", "cpu", "--split", split, "--out", out, "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    with safe_open(out / "model.safetensors", "pt") as file:
        assert f"--split {split}" in file.metadata()["command"]
    return out / "model.safetensors"


def scored_on(split, few, out, *more):
    return invoked("eval", "vivit_nano", "--root", few / "copy", "--device", "cpu", "--no-cost",
                   "--json", "--split", split, "--out", out, *more)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "heads"),
    [("extended", {"verb": 20, "noun": 8}), ("rate", {"verb": 12, "noun": 8, "rate": 3})],
)
def test_a_list_on_request_trains_and_tests_models_with_its_own_heads(few, tmp_path, split, heads):
    weights = trained_on(f"train_{split}", few, tmp_path / "fit")
    scored = scored_on(split, few, tmp_path / "run", "--checkpoint", weights)
    assert scored.exit_code == 0, scored.output
    summary = json.loads(scored.stdout)["summary"]
    assert summary["spec"]["heads"] == heads
    found = {(s["head"], s["metric"], s["condition"]) for s in summary["scores"]}
    for condition in ("", "shuffled", "reversed", "static"):
        assert ("verb", "direction", condition) in found
        assert {(head, "top1", condition) for head in (*heads, "action")} <= found
    assert ("verb", "pair", "") in found
    assert not any(head == "rate" and metric == "direction" for head, metric, _ in found)
    for name, checkpoint, words in (
        (split, None, "vivit_nano.safetensors tells apart 12 verbs, 8 nouns"),
        ("easy", weights, "the list easy has: 12 verbs, 8 nouns"),
    ):
        more = ("--checkpoint", checkpoint) if checkpoint else ()
        refused = scored_on(name, few, tmp_path / "other", *more)
        assert getattr(refused.exception, "exit_code", None) == 2, refused.output
        assert words in str(refused.exception)


@pytest.mark.slow
def test_shipped_weights_tell_which_way_time_runs_and_an_order_blind_model_does_not(tmp_path):
    copy = tmp_path / "copy"
    made = vbench("data", "make", "motion", "--size", "tiny", "--split", "easy", "--root", copy)
    assert made.returncode == 0, made.stderr
    found = {}
    for name in ("vivit_nano", "tsn_nano"):
        done = vbench("eval", name, "--root", copy, "--device", "cpu", "--no-cost", "--json",
                      "--out", tmp_path / name)  # fmt: skip
        assert done.returncode == 0, done.stderr
        scores = json.loads(done.stdout)["summary"]["scores"]
        found[name] = {
            (s["head"], s["metric"], s["condition"]): s for s in scores if s["videos"] == "decoded"
        }
    vivit, tsn = found["vivit_nano"], found["tsn_nano"]
    assert vivit["verb", "direction", ""]["interval"]["low"] > 0.8
    assert vivit["verb", "direction", ""]["p_value"] < 1e-6
    assert vivit["verb", "direction", "reversed"]["interval"]["low"] > 0.8
    for blind in (
        vivit["verb", "direction", "shuffled"],
        vivit["verb", "direction", "static"],
        tsn["verb", "direction", ""],
    ):
        assert blind["interval"]["low"] - 0.03 < 0.5 < blind["interval"]["high"] + 0.03
    assert tsn["noun", "top1", ""]["value"] > 0.8
