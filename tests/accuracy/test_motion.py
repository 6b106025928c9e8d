"""The motion benchmark: what no frame and no set of frames tells, on disk as real datasets are."""

from dataclasses import replace
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from scipy import stats

import model_zoo
from vbench.accuracy import datasets
from vbench.accuracy.decode import opened
from vbench.accuracy.intervals import Interval
from vbench.accuracy.metrics import Score
from vbench.accuracy.motion import build, expected, render, schedule, seeds
from vbench.accuracy.motion.labels import (
    ATTRIBUTES,
    NOUNS,
    VERBS,
    attribute_of,
    is_held_out,
    reversed_verb,
)
from vbench.accuracy.motion.lists import SPLITS
from vbench.accuracy.motion.schedule import Difficulty
from vbench.core import store
from vbench.core.errors import StoreError, UsageError

GOLDEN_MEANS = (39.7579, 39.6926, 39.7318, 39.6701)
HEADER = build.Header(size="tiny", seed=3)
STILL = Difficulty(noise=0.0)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of a few clips a list."""
    root = tmp_path_factory.mktemp("motion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SIZES", {"tiny": (24, 24)})
        written = list(build.build(root, ["easy", "train_medium", "untrimmed"], HEADER))
    assert len(written) == 24 + 24 + 2
    return root


def draws(verb, count=600, num_movers=2):
    difficulty = Difficulty(num_movers=num_movers)
    return np.stack(
        [
            schedule.draw(
                np.random.default_rng((verb, seed)), verb=verb, num_frames=8, difficulty=difficulty
            ).values
            for seed in range(count)
        ]
    )  # (count, A, T)


@pytest.mark.parametrize("verb", range(len(VERBS)))
def test_every_attribute_is_uniform_at_every_frame_whatever_the_verb(verb):
    values = draws(verb)
    p_values = [
        stats.kstest(values[:, attribute, frame], "uniform").pvalue
        for attribute in range(len(ATTRIBUTES))
        for frame in (0, 3, 7)
    ]
    assert min(p_values) > 1e-4


@pytest.mark.parametrize("verb", range(0, len(VERBS), 2))
def test_a_verb_played_backwards_is_its_reversal(verb):
    own = attribute_of(verb)
    for played, step in ((verb, 1 / 8), (reversed_verb(verb), -1 / 8)):
        values = draws(played, count=20)[:, own]
        moved = (np.diff(values, axis=1) - step + 0.5) % 1 - 0.5
        assert np.abs(moved).max() < 1e-5


def test_movers_go_to_and_fro_and_all_else_but_the_verb_stays():
    difficulty = Difficulty(num_movers=2)
    drawn = schedule.draw(np.random.default_rng(0), verb=0, num_frames=32, difficulty=difficulty)
    moving = {place for place in range(6) if np.ptp(drawn.values[place]) > 0}
    assert moving == {0, *drawn.movers}
    assert len(drawn.movers) == 2
    for mover in drawn.movers:
        steps = np.sort(np.diff(drawn.values[mover]))
        assert steps == pytest.approx(-steps[::-1], abs=0.1)


def test_the_same_key_gives_the_same_frames_and_another_key_others():
    first, again, other = (
        render.clip(key, verb=4, noun=3, difficulty=Difficulty()) for key in ("a", "a", "b")
    )
    assert first.shape == (32, 112, 112, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_frames_are_those_of_the_first_release():
    clip = render.clip("0/easy_00000", verb=0, noun=0, difficulty=Difficulty())
    means = clip.mean(axis=(1, 2, 3))[::8]
    assert means == pytest.approx(GOLDEN_MEANS, abs=0.01)


def test_what_leaves_the_frame_comes_in_again_on_the_other_side():
    clip = render.clip("torus", verb=VERBS.index("move right"), noun=0, difficulty=STILL)
    painted = (clip != clip[:, :1, :1]).any(axis=3).sum(axis=(1, 2))
    assert np.ptp(painted) < 0.05 * painted.mean()
    assert painted.min() > 0


def test_lists_hold_every_verb_alike_and_train_on_no_held_out_pair():
    for name, split in SPLITS.items():
        clips = build.clips_of(name, build.Header())
        num_verbs = len(split.vocabulary.verbs)
        counts = np.bincount([clip.verb for clip in clips], minlength=num_verbs)
        assert counts.max() - counts.min() <= (61 if split.is_training else 0)
        held_out = [is_held_out(clip.verb, clip.noun) for clip in clips]
        assert any(held_out) != split.is_training
    tested = build.clips_of("easy", build.Header())
    assert {(c.verb, c.noun) for c in tested} == {(v, n) for v in range(12) for n in range(8)}
    trained = build.clips_of("train_easy", build.Header())
    assert {c.noun for c in trained} == set(range(len(NOUNS)))


def test_training_and_testing_share_no_clip():
    ids = [{c.clip_id for c in build.clips_of(name, build.Header())} for name in SPLITS]
    assert sum(map(len, ids)) == len(set().union(*ids))


def test_a_copy_is_read_like_any_dataset(copy):
    dataset = datasets.load("motion", root=copy, split="easy")
    assert [len(names) for names in dataset.heads.values()] == [12, 8]
    assert len(dataset.videos) == 24
    assert all((copy / video.path).is_file() for video in dataset.videos)
    assert dataset.reversals["verb"][VERBS.index("open")] == VERBS.index("close")
    slices = {bool(video.slices) == is_held_out(**video.labels) for video in dataset.videos}
    assert slices == {True}


def test_coded_frames_are_all_key_frames_and_close_to_the_rendered_ones(copy):
    clips = build.clips_of("easy", HEADER)
    clip = clips[5]
    with av.open(str(copy / clip.file)) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    with opened(copy / clip.file) as source:
        frames = source.read(range(32), lambda frame: frame)
    decoded = np.stack([frames[index] for index in range(32)]).astype(float)
    assert np.abs(decoded - build.frames_of(clip, "easy", HEADER)).mean() < 6


def test_a_segment_of_an_untrimmed_file_is_its_own_clip(copy):
    dataset = datasets.load("motion", root=copy, split="untrimmed")
    video = dataset.videos[13]
    assert dataset.videos[11].path != video.path
    with opened(copy / video.path, start_s=video.start_s, stop_s=video.stop_s) as source:
        assert source.num_frames == 32
        frames = source.read([0, 31], lambda frame: frame)
    clip = next(c for c in build.clips_of("untrimmed", HEADER) if c.clip_id == video.key)
    rendered = build.frames_of(clip, "untrimmed", HEADER)
    for index, frame in frames.items():
        assert np.abs(frame.astype(float) - rendered[index]).mean() < 6


def test_a_build_that_was_killed_goes_on_and_keeps_what_it_wrote(copy, monkeypatch):
    monkeypatch.setattr(build, "SIZES", {"tiny": (24, 24)})
    files = sorted((copy / "videos/easy").iterdir())
    (copy / "annotations/easy.csv").unlink()
    files[3].unlink()
    kept = files[4].stat().st_mtime_ns
    assert build.num_files(copy, ["easy"], HEADER) == 1
    assert list(build.build(copy, ["easy"], HEADER)) == ["videos/easy/" + files[3].name]
    assert files[4].stat().st_mtime_ns == kept
    assert build.is_built(copy, "easy")


def test_a_whole_copy_is_never_written_to(copy, monkeypatch):
    monkeypatch.setattr(build, "SIZES", {"tiny": (24, 24)})
    monkeypatch.setattr(store, "write_text", None)
    assert list(build.build(copy, ["easy"], HEADER)) == []


def test_a_copy_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / "videos").write_text("a file where the folder should be")
    clip = build.clips_of("easy", HEADER)[0]
    with pytest.raises(StoreError, match="cannot write results to"):
        build._write_file((tmp_path, "easy", HEADER, (clip,)))


def test_a_folder_of_another_copy_is_refused(copy):
    other = msgspec.structs.replace(HEADER, seed=4)
    with pytest.raises(UsageError, match="holds another copy: tiny, seed 3"):
        list(build.build(copy, ["hard"], other))
    with pytest.raises(UsageError, match="no split missing"):
        build.clips_of("missing", HEADER)
    with pytest.raises(UsageError, match="no size huge"):
        build.clips_of("easy", build.Header(size="huge"))


@pytest.mark.parametrize(
    "change", [{"num_movers": 6}, {"noise": -1}, {"background": "x"}, {"noun_mode": "x"}]
)
def test_a_difficulty_that_is_none_is_refused(change):
    with pytest.raises((msgspec.ValidationError, ValueError)):
        msgspec.convert(change, Difficulty)


@pytest.mark.parametrize("background", schedule.BACKGROUNDS)
def test_every_background_can_be_drawn(background):
    difficulty = Difficulty(background=background, noun_mode="shape", jitter=0.01, flicker=0.02)
    clip = render.clip("x", verb=0, noun=7, difficulty=difficulty, side_px=32)
    assert clip.shape == (32, 32, 32, 3)
    assert clip.std() > 1


def test_a_retrained_model_is_judged_by_the_shipped_weights_on_the_same_list():
    known = next(e for e in expected.expected() if (e.head, e.metric) == ("verb", "direction"))
    interval = Interval(low=0.0, high=1.0, method="Wilson")

    def judged(value, **changes):
        found = Score(metric="direction", head="verb", videos="decoded", num_videos=960,
                      value=value, interval=interval)  # fmt: skip
        return expected.judge(known.model, known.list_sha256, [replace(found, **changes)])

    assert [j.is_inside for j in judged(known.value)] == [True]
    assert [j.is_inside for j in judged(known.retrained_low - 0.01)] == [False]
    assert "lies outside" in str(judged(known.retrained_high + 0.01)[0])
    assert judged(known.value, condition="shuffled") == []
    assert expected.judge(known.model, "another list", []) == []


def test_another_training_falls_into_its_interval_as_often_as_is_said():
    rng = np.random.default_rng(0)
    middles, spread, hits = np.linspace(1.2, 2.6, 6), 0.05, []
    for _ in range(400):
        drawn = np.sin(rng.normal(middles, spread, size=(4, 6)) / 2) ** 2
        *known, new = drawn
        trained = {str(m): [shares[m] for shares in known] for m in range(6)}
        found = seeds.predicted(trained)
        hits += [found[str(m)][0] <= new[m] <= found[str(m)][1] for m in range(6)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.012)


def test_the_spread_of_other_models_speaks_for_one_that_was_trained_once():
    found = seeds.predicted({"a": [0.5, 0.52, 0.48], "b": [0.5], "c": [1.0]})
    assert found["b"][0] < found["a"][0] < 0.5 < found["a"][1] < found["b"][1]
    assert found["c"][1] == 1
    with pytest.raises(UsageError, match="trained from two seeds, of: a"):
        seeds.predicted({"a": [0.5]})


def test_expected_scores_are_of_shipped_weights(monkeypatch):
    monkeypatch.setattr(expected, "_shipped_sha256", lambda _model: "another file's")
    with pytest.raises(UsageError, match="no run is of the shipped weights of"):
        expected.from_runs(sorted((Path(__file__).parents[2] / "results/motion").iterdir()))


def test_every_shipped_model_has_scores_to_be_expected():
    names = {entry.model for entry in expected.expected()}
    assert names == set(model_zoo.list_models("*_nano"))
