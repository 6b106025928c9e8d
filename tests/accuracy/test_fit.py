"""Fitting a model: the recipe, exact augmentation, and going on as if never stopped."""

import errno
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import model_zoo
from vbench.accuracy.fit import training as fitting
from vbench.accuracy.fit.batches import Lists, batch
from vbench.accuracy.fit.frames import Frames
from vbench.accuracy.fit.optimizer import Optimizer, hidden_weights
from vbench.accuracy.fit.recipe import Recipe, recipe_with
from vbench.accuracy.fit.training import Training
from vbench.accuracy.motion import render
from vbench.accuracy.motion.labels import reversed_verb
from vbench.accuracy.motion.schedule import Difficulty
from vbench.accuracy.transforms import Spatial
from vbench.core.errors import StoreError, UsageError

NANO = model_zoo.list_models("*_nano")
REVERSALS = {"verb": tuple(reversed_verb(verb) for verb in range(12))}


@pytest.fixture(scope="module")
def lists():
    """Two clips of each verb, easy; the same are medium."""
    labels = [(verb, (verb + shift) % 8) for verb in range(12) for shift in range(2)]
    pixels = [
        render.clip(f"{verb}/{noun}", verb=verb, noun=noun, difficulty=Difficulty(), side_px=32)
        for verb, noun in labels
    ]
    columns = np.array(labels)
    frames = Frames(pixels=np.stack(pixels), labels={"verb": columns[:, 0], "noun": columns[:, 1]})
    spatial = Spatial(short_side_px=32, crop_px=32)
    return Lists(easy=frames, medium=frames, heads={"verb": 12, "noun": 8}, reversals=REVERSALS,
                 spatial=spatial)  # fmt: skip


def drawn(lists, step=0, **changes):
    recipe = Recipe(**{"batch_clips": 8, **changes})
    return batch(step, recipe, lists, num_frames=8)


def test_a_batch_is_of_its_step_alone_and_holds_every_clip_beside_its_reversal(lists):
    made, again, later = drawn(lists), drawn(lists), drawn(lists, step=1)
    assert made.clips.shape == (8, 8, 32, 32, 3)
    assert np.array_equal(made.clips, again.clips)
    assert not np.array_equal(made.clips, later.clips)
    assert np.array_equal(made.clips[4:], made.clips[:4, ::-1])
    assert made.labels["verb"][4:].tolist() == [v ^ 1 for v in made.labels["verb"][:4]]
    assert np.array_equal(made.labels["noun"][4:], made.labels["noun"][:4])


def test_augmented_clips_hold_the_pixels_of_their_clip(lists):
    made = drawn(lists)
    verb, noun = made.labels["verb"][0], made.labels["noun"][0]
    matches = (lists.easy.labels["verb"] == verb) & (lists.easy.labels["noun"] == noun)
    source = lists.easy.pixels[np.flatnonzero(matches)[0]]
    histograms = {np.bincount(frame.reshape(-1), minlength=256).tobytes() for frame in source}
    for frame in made.clips[0]:
        assert np.bincount(frame.reshape(-1), minlength=256).tobytes() in histograms


def test_the_share_of_medium_clips_and_the_learning_rate_rise_as_the_recipe_says():
    recipe = Recipe(steps=1000, warmup_steps=50, medium_from=0.3, medium_share=0.5)
    assert recipe.medium_share_at(0) == recipe.medium_share_at(300) == 0
    assert recipe.medium_share_at(450) == pytest.approx(0.25)
    assert recipe.medium_share_at(999) == 0.5
    rates = [recipe.learning_rate_at(step) for step in range(1000)]
    assert np.argmax(rates) == pytest.approx(50, abs=2)
    assert rates[-1] < 1e-7


@pytest.mark.parametrize("change", [{"batch_clips": 7}, {"steps": 0}, {"batch_clips": 0}])
def test_a_recipe_that_is_none_is_refused(change):
    with pytest.raises(UsageError, match="no such recipe"):
        recipe_with(**change)


@pytest.mark.parametrize("name", NANO)
def test_every_nano_model_takes_steps(lists, tmp_path, name):
    fit = Training(name, Recipe(steps=3, batch_clips=4), tmp_path, lists)
    before = {key: value.clone() for key, value in fit.model.named_parameters()}
    taken, *_ = fit.run()
    assert taken.losses["verb"] == pytest.approx(np.log(12), rel=0.5)
    assert taken.losses["noun"] == pytest.approx(np.log(8), rel=0.5)
    moved = [not torch.equal(value, before[key]) for key, value in fit.model.named_parameters()]
    assert np.mean(moved) > 0.8


def test_a_fit_that_was_stopped_ends_with_the_weights_of_one_that_was_not(
    lists, tmp_path, monkeypatch
):
    monkeypatch.setattr(fitting, "SAVE_EVERY", 2)
    recipe = Recipe(steps=7, batch_clips=4, warmup_steps=2)
    whole = Training("vivit_nano", recipe, tmp_path / "whole", lists)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    list(whole.run())
    for stop_at in (3, 5):
        parts = Training("vivit_nano", recipe, tmp_path / "parts", lists)
        for taken in parts.run():
            if taken.step == stop_at:
                break
    parts = Training("vivit_nano", recipe, tmp_path / "parts", lists)
    assert parts.step == 5
    list(parts.run())
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, parts.model.state_dict()[key]), key
    losses = [(tmp_path / name / "losses.csv").read_text() for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert len(losses[0].splitlines()) == 1 + 7


def test_a_fit_learns_what_it_is_shown(lists, tmp_path):
    fit = Training("vivit_nano", Recipe(steps=60, batch_clips=8, medium_share=0), tmp_path, lists)
    nouns = [taken.losses["noun"] for taken in fit.run()]
    assert np.mean(nouns[-10:]) < 0.95 * np.mean(nouns[:10])


def test_a_folder_of_another_fit_is_refused(lists, tmp_path):
    Training("vivit_nano", Recipe(steps=1, batch_clips=4), tmp_path, lists).save()
    with pytest.raises(UsageError, match="holds another fit: vivit_nano"):
        Training("vivit_nano", Recipe(steps=2, batch_clips=4), tmp_path, lists)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", {"step": 1}, 7])
def test_a_damaged_checkpoint_is_named(lists, tmp_path, content):
    if isinstance(content, bytes):
        (tmp_path / "checkpoint.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(UsageError, match=r"checkpoint\.pt") as caught:
        Training("vivit_nano", Recipe(steps=1, batch_clips=4), tmp_path, lists)
    assert "begin again" in (caught.value.hint or "")


def test_a_full_disk_is_said_in_one_line(lists, tmp_path, monkeypatch):
    fit = Training("vivit_nano", Recipe(steps=1, batch_clips=4), tmp_path, lists)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match="No space left on device"):
        fit.save()
    assert not list(tmp_path.glob(".*.part"))


def test_models_without_the_heads_of_the_benchmark_are_refused(lists, tmp_path):
    with pytest.raises(UsageError, match="no heads for: verb, noun"):
        Training("timesformer_tiny", Recipe(), tmp_path, lists)
    with pytest.raises(UsageError, match="unknown model"):
        Training("missing_nano", Recipe(), tmp_path, lists)


def test_exported_weights_load_and_say_what_made_them(lists, tmp_path):
    fit = Training("vivit_nano", Recipe(steps=1, batch_clips=4), tmp_path, lists)
    path = fit.export({"command": "vbench train vivit_nano"})
    with safe_open(path, "pt") as file:
        assert file.metadata()["command"] == "vbench train vivit_nano"
    assert load_file(path).keys() == fit.model.state_dict().keys()
    model = model_zoo.create_model("vivit_nano")
    assert model_zoo.load_checkpoint(model, path).head_loaded


def test_matrices_between_pixels_and_classifier_are_trained_by_muon():
    inner = nn.Conv3d(8, 16, 1)
    model = nn.Sequential(
        nn.Conv3d(3, 8, 2),
        nn.Conv3d(8, 8, 3, groups=8),
        inner,
        nn.Linear(16, 16),
        nn.LayerNorm(16),
        nn.Linear(16, 20),
    )
    assert [w.shape for w in hidden_weights(model, 20)] == [inner.weight.shape, (16, 16)]
    optimizer = Optimizer(model, Recipe(), num_outputs=20)
    before = inner.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(1e-2)
    assert not torch.equal(inner.weight, before)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", NANO)
def test_shipped_weights_load_and_their_record_names_their_command(name):
    path = model_zoo.shipped_checkpoint(name)
    assert path is not None
    model_zoo.load_checkpoint(model_zoo.create_model(name), path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["command"].startswith(f"vbench train {name}")
    assert json.loads(metadata["recipe"])["seed"] >= 0


def test_shipped_weights_are_small():
    paths = [model_zoo.shipped_checkpoint(name) for name in NANO]
    assert sum(path.stat().st_size for path in paths if path is not None) < 40e6
