"""What becomes of a batch of views in the evaluating process."""

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model_zoo import CheckpointError
from vbench.accuracy import protocols
from vbench.accuracy.datasets import Video
from vbench.accuracy.decoding import Decoded, Result, view_shape
from vbench.accuracy.evaluation import EvalSpec
from vbench.accuracy.worker import Scorer, usable_device
from vbench.core.errors import UnavailableError

PROTOCOL = protocols.Protocol(
    name="custom protocol",
    rule="dense_centred",
    num_frames=4,
    frame_stride=1,
    num_clips=3,
    spatial=protocols.custom(num_frames=4, size_px=16).spatial,
    aggregate="probability_mean",
)


def spec(model, heads, **changes):
    settings: dict[str, Any] = {
        "model": f"tests.accuracy.tiny:{model}", "dataset": "folder", "split": "val",
        "list_sha256": "", "subset": "all", "subset_sha256": "", "num_listed": 1, "num_absent": 0,
        "heads": heads, "columns": {h: tuple(range(n)) for h, n in heads.items()},
        "num_outputs": heads, "label_space": "its own", "protocol": PROTOCOL, "checkpoint": None,
        "checkpoint_sha256": None, "precision": "fp32", "attention": "sdpa", "device": "cpu",
        "batch_views": 6,
    } | changes  # fmt: skip
    return EvalSpec(**settings)


def result(seed):
    if seed is None:
        decoded = Decoded(slot=None, num_frames=None, decode_s=0.1, error="unreadable: x")
        return Result(decoded=decoded, views=None, wait_s=0.0)
    views = np.random.default_rng(seed).integers(0, 256, view_shape(PROTOCOL), dtype=np.uint8)
    decoded = Decoded(slot=0, num_frames=30, decode_s=0.1)
    return Result(decoded=decoded, views=views, wait_s=0.0)


def batch(spec, seeds, **labels):
    scorer = Scorer(spec, torch.device("cpu"))
    own = labels if spec.heads else {}
    videos = tuple(Video(key=str(i), path="", labels=own) for i in range(len(seeds)))
    records = scorer.batch(videos, iter([result(seed) for seed in seeds]))
    return [msgspec.structs.replace(record, model_s=None) for record in records]


def test_an_unreadable_neighbour_changes_no_number():
    wanted = spec("tiny", {"class": 3})
    (alone, _), (beside, broken) = (
        batch(wanted, seeds, **{"class": 1}) for seeds in ([5, 6], [5, None])
    )
    assert alone == beside
    assert (broken.status, broken.error, broken.heads) == ("unreadable", "unreadable: x", {})


def test_the_last_batch_may_hold_less():
    wanted = spec("tiny", {"class": 3})
    assert wanted.videos_per_batch == 2
    assert batch(wanted, [5], **{"class": 1})[0] == batch(wanted, [5, 6], **{"class": 1})[0]


@pytest.mark.parametrize("batch_views", [1, 2, 4, 100])
def test_any_size_of_a_pass_gives_the_same_answers(batch_views):
    expected = batch(spec("tiny", {"class": 3}), [5], **{"class": 1})[0]
    found = batch(spec("tiny", {"class": 3}, batch_views=batch_views), [5], **{"class": 1})[0]
    assert found.heads["class"].top == expected.heads["class"].top
    assert found.heads["class"].label_probability == pytest.approx(
        expected.heads["class"].label_probability, abs=1e-6
    )


def test_two_heads_make_an_action():
    (record,) = batch(spec("two_heads", {"verb": 2, "noun": 3}), [5], verb=1, noun=2)
    assert set(record.heads) == {"verb", "noun", "action"}
    assert len(record.heads["action"].view_top) == 3
    verb, noun = record.heads["verb"].top[0], record.heads["noun"].top[0]
    assert record.heads["action"].top[0] == verb * 1000 + noun


def test_a_regression_averages_its_views():
    scorer = Scorer(spec("mean", {}, num_outputs={"value": 1}), torch.device("cpu"))
    (record,) = scorer.batch((Video(key="a", path="", target=0.5),), iter([result(5)]))
    assert record.target == 0.5
    assert record.value == pytest.approx(0.0, abs=0.3)
    assert record.heads == {}


def test_an_output_that_is_not_finite_is_an_error_of_that_video():
    (record,) = batch(spec("not_finite", {"class": 3}), [5], **{"class": 1})
    assert (record.status, record.error) == ("error", "the model's output is not finite")


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    scorer = Scorer(spec("tiny", {"class": 3}), torch.device("cpu"))
    path = tmp_path / "weights.safetensors"
    save_file({name: t + 1 for name, t in scorer.model.state_dict().items()}, path)
    scorer.load(str(path))
    save_file({"head.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(CheckpointError, match="does not fit"):
        scorer.load(str(path))


def test_a_device_that_is_not_there_is_said():
    with pytest.raises(UnavailableError, match="no such CUDA device: cuda:7"):
        usable_device("cuda:7")
