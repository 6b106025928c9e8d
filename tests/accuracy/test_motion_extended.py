"""Lists on request: more verbs, rates and nouns without colour, under the same guarantees.

They are proved on the schedule itself. A clip of a verb is a function of the place of its frames
between two ticks, of a phase of each attribute, and of what does not change in time; what is shown
here holds for every such place and phase, and none of it is learned.
"""

import colorsys
import hashlib
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vbench.accuracy import datasets
from vbench.accuracy.motion import build, marks, render, schedule, shapes
from vbench.accuracy.motion.labels import (
    BASE,
    EXTENDED,
    NOUNS,
    RATED,
    VERBS,
    attribute_of,
    reversed_verb,
)
from vbench.accuracy.motion.lists import SPLITS
from vbench.accuracy.motion.schedule import Difficulty, Schedule
from vbench.core import processes

STILL = Difficulty(noise=0.0)
HEADER = build.Header(size="tiny", seed=3)
NUM_VERBS = len(EXTENDED.verbs)
NUM_ATTRIBUTES = len(EXTENDED.attributes)
RELEASED_LISTS = "0ff31241be23f12c7d8a9ab0998a5566829bf7ae403841e7f72b532139da8368"


class Numbers:
    """What a schedule draws from, given instead of drawn; movers are the first of the others."""

    def __init__(self, place, phases):
        self.place, self.phases = place, np.asarray(phases, dtype=np.float64)

    def random(self, count=None):
        return self.place if count is None else self.phases[:count]

    def permutation(self, others):
        return np.array(others)


def drawn(verb, place, phases, *, num_frames=8, vocabulary=EXTENDED, num_cycles=1, num_movers=3):
    rng: Any = Numbers(place, phases)
    difficulty = Difficulty(num_movers=num_movers, num_cycles=num_cycles)
    return schedule.draw(
        rng, verb=verb, num_frames=num_frames, difficulty=difficulty,
        attributes=vocabulary.attributes,
    )  # fmt: skip


def same_on_a_circle(first, second):
    return np.abs((np.asarray(first) - second + 0.5) % 1 - 0.5).max() < 1e-6


def given():
    """A place of the frames, and phases."""
    rng = np.random.default_rng(0)
    return rng.random(), rng.random(NUM_ATTRIBUTES)


KINDS = [(verb, EXTENDED, 1) for verb in range(NUM_VERBS)] + [
    (verb, RATED, cycles) for verb in range(len(VERBS)) for cycles in (1, 2, 3)
]


@pytest.mark.parametrize(("verb", "vocabulary", "num_cycles"), KINDS)
def test_a_frame_shows_each_value_as_often_whatever_the_verb_the_rate_and_its_place(
    verb, vocabulary, num_cycles
):
    num_phases = 48
    grid = np.arange(num_phases) / num_phases
    values = np.stack(
        [
            drawn(verb, 0.3, np.full(NUM_ATTRIBUTES, p), vocabulary=vocabulary,
                  num_cycles=num_cycles, num_movers=0).values
            for p in grid
        ]
    )  # fmt: skip
    for attribute in range(len(vocabulary.attributes)):
        for frame in range(8):
            found = values[:, attribute, frame] * num_phases
            shift = found - np.round(found - found[0])  # the whole grid, turned
            assert np.abs(shift - shift[0]).max() < 1e-3
            turned = np.sort(np.round(found - found[0]).astype(int) % num_phases)
            assert turned.tolist() == list(range(num_phases))


@pytest.mark.parametrize("verb", range(NUM_VERBS))
def test_attributes_of_a_frame_are_uniform_and_independent(verb):
    rng = np.random.default_rng(verb)
    clips = [
        schedule.draw(rng, verb=verb, num_frames=8, difficulty=Difficulty(num_movers=2),
                      attributes=EXTENDED.attributes).values
        for _ in range(600)
    ]  # fmt: skip
    values = np.stack(clips)
    uniform = [
        stats.kstest(values[:, attribute, frame], "uniform").pvalue
        for attribute in range(NUM_ATTRIBUTES)
        for frame in (0, 3, 7)
    ]
    assert min(uniform) > 1e-4
    own = values[:, attribute_of(verb), 3]
    others = np.delete(values[:, :, 3], attribute_of(verb), axis=1).T
    assert min(stats.spearmanr(own, other).pvalue for other in others) > 1e-4


@pytest.mark.parametrize(("verb", "vocabulary", "num_cycles"), KINDS)
def test_clips_played_backwards_are_those_of_the_reversal(verb, vocabulary, num_cycles):
    place, phases = given()
    clip = drawn(verb, place, phases, vocabulary=vocabulary, num_cycles=num_cycles)
    mirrored = phases.copy()
    mirrored[list(clip.movers)] *= -1  # as likely, and whose to and fro is the other's fro and to
    other = drawn(
        reversed_verb(verb), 1 - place, mirrored % 1, vocabulary=vocabulary, num_cycles=num_cycles
    )
    assert same_on_a_circle(clip.values[:, ::-1], other.values)


@pytest.mark.parametrize(("verb", "vocabulary", "num_cycles"), KINDS)
def test_clips_rolled_in_time_are_those_of_another_phase(verb, vocabulary, num_cycles):
    place, phases = given()
    clip = drawn(verb, place, phases, vocabulary=vocabulary, num_cycles=num_cycles)
    later = phases.copy()
    later[list(clip.movers)] += 3 / 8
    later[attribute_of(verb)] += num_cycles * 3 / 8 * (-1) ** verb
    other = drawn(verb, place, later % 1, vocabulary=vocabulary, num_cycles=num_cycles)
    assert same_on_a_circle(np.roll(clip.values, -3, axis=1), other.values)


@pytest.mark.parametrize("verb", range(len(VERBS), NUM_VERBS))
def test_frames_hold_nothing_of_their_order(verb, monkeypatch):
    place, phases = given()
    clip = drawn(verb, place, phases, num_frames=render.NUM_FRAMES, num_movers=0)

    def rendered(order):
        values = np.ascontiguousarray(clip.values[:, order])
        changed = Schedule(attributes=clip.attributes, values=values, movers=())
        monkeypatch.setattr(schedule, "draw", lambda *_, **__: changed)
        return render.clip("k", verb=verb, noun=3, difficulty=STILL,
                           attributes=EXTENDED.attributes, side_px=48)  # fmt: skip

    in_order = rendered(np.arange(render.NUM_FRAMES))
    shuffle = np.random.default_rng(1).permutation(render.NUM_FRAMES)
    assert len(np.unique(in_order.reshape(render.NUM_FRAMES, -1), axis=0)) > 2
    assert np.array_equal(rendered(shuffle), in_order[shuffle])


def steps_of(verb, direction):
    """Signed steps of the object along a trip, the two of the snap at its end left out."""
    clip = drawn(verb, 0.0, np.zeros(NUM_ATTRIBUTES), num_frames=16, num_movers=0)
    rng: Any = type("Chosen", (), {"integers": lambda *_: direction})()
    x, y = marks.displaced(rng, clip.of("x"), clip.of("y"), clip.of("course"))
    moved = np.stack([x, y])
    return ((np.diff(moved, axis=1) + 0.5) % 1 - 0.5)[:, 1:]


@pytest.mark.parametrize("direction", range(len(marks.DIRECTIONS)))
def test_speed_alone_tells_acceleration_from_its_reversal(direction):
    faster, slower = (EXTENDED.verbs.index(word) for word in ("accelerate", "decelerate"))
    lengths = np.hypot(*steps_of(faster, direction))
    assert (np.diff(lengths) > 0).all()
    assert (np.diff(np.hypot(*steps_of(slower, direction))) < 0).all()
    right, down = marks.DIRECTIONS[direction]
    opposite = marks.DIRECTIONS.index((-right, -down))
    # A deceleration the other way goes to the same side as this acceleration.
    ways = [np.sign(steps_of(slower, opposite)), np.sign(steps_of(faster, direction))]
    assert all(np.array_equal(np.unique(way, axis=1), [[right], [down]]) for way in ways)


def test_a_trip_ends_where_it_began_and_its_places_are_uniform():
    grid = np.linspace(0, 1, 64, endpoint=False, dtype=np.float32)
    for direction in range(len(marks.DIRECTIONS)):
        rng: Any = type("Chosen", (), {"integers": lambda *_, d=direction: d})()
        for course in (0.0, 0.4, 1.0):
            x, _ = marks.displaced(rng, grid, grid, np.full(64, course, dtype=np.float32))
            gaps = np.diff(np.sort(x), append=np.sort(x)[0] + 1)
            assert gaps == pytest.approx(np.full(64, 1 / 64), abs=1e-5)
        start, end = (
            marks.displaced(rng, grid, grid, np.full(64, u, dtype=np.float32)) for u in (0, 1)
        )
        assert same_on_a_circle(start, np.stack(end))


def test_each_event_is_seen_as_often_and_the_second_a_quarter_after_the_first():
    first, second = (EXTENDED.verbs.index(f"flash {word}") for word in (
        "flat then upright", "upright then flat"))  # fmt: skip
    for verb, sign in ((first, 1), (second, -1)):
        clip = drawn(verb, 0.5, np.zeros(NUM_ATTRIBUTES), num_frames=32, num_movers=0)
        signal = clip.of("signal")
        flat, upright = (((low <= signal) & (signal < high)) for low, high in marks.LIT)
        assert flat.sum() == upright.sum() == 8
        assert not (flat & upright).any()
        assert np.array_equal(np.roll(flat, sign * 8), upright)


@pytest.mark.parametrize(
    ("verb", "least", "most"),
    [
        ("flash flat then upright", 0.03, 0.08),  # two bars
        ("orbit clockwise", 0.2, 0.35),  # a ring around the object
        ("split", 0.03, 0.12),  # the ways of two dots
    ],
)
def test_a_mark_changes_its_own_part_of_the_clip_and_no_other(verb, least, most):
    clip = render.clip("k", verb=EXTENDED.verbs.index(verb), noun=0, difficulty=STILL,
                       attributes=EXTENDED.attributes, side_px=64)  # fmt: skip
    changed = (clip != clip[:1]).any(axis=(0, 3))
    assert least < changed.mean() < most


def test_a_satellite_goes_clockwise_and_dots_move_apart():
    names = EXTENDED.attributes
    values = np.full((NUM_ATTRIBUTES, 4), 0.6, dtype=np.float32)  # no bar is lit
    values[names.index("orbit")] = (0, 0.25, 0.5, 0.75)
    values[names.index("gap")] = (0, 0.3, 0.6, 1)
    clip = Schedule(attributes=names, values=values, movers=())
    middle = np.full(4, 0.5, dtype=np.float32)
    frames = np.zeros((4, 64, 64, 3), dtype=np.float32)
    marks.paint(np.random.default_rng(2), frames, middle, middle, clip)
    for frame, (across, down) in zip(frames, [(1, 0), (0, 1), (-1, 0), (0, -1)], strict=True):
        core = (int(64 * (0.5 + marks.ORBIT_RADIUS * place)) for place in (down, across))
        assert frame[*core].max() == 0
        rim = (int(64 * (0.5 + 0.355 * place)) for place in (down, across))
        assert frame[*rim].min() == 1
    lone = np.zeros((4, 64, 64, 3), dtype=np.float32)
    values[names.index("orbit")] = 0
    marks.paint(np.random.default_rng(2), lone, middle, middle, clip)
    spread = [np.argwhere(frame[..., 0] > 0.5).std(axis=0).sum() for frame in lone]
    assert (np.diff(spread) > 0).all()


def test_marks_leave_on_one_side_and_come_in_on_the_other():
    frames = np.zeros((1, 64, 64, 3), dtype=np.float32)
    zero = np.zeros(1, dtype=np.float32)
    marks._blend(frames, marks._disc(frames, zero, zero, 0.1), marks.WHITE)
    assert frames[0, 0, 0, 0] == frames[0, -1, -1, 0] == frames[0, 0, -1, 0] == 1


def test_a_rate_is_how_often_the_verb_happens_and_eight_frames_show_its_direction():
    for num_cycles in (1, 2, 3):
        clip = drawn(0, 0.2, given()[1], vocabulary=RATED, num_cycles=num_cycles, num_movers=0)
        steps = (np.diff(clip.of("x"), append=clip.of("x")[0]) + 0.5) % 1 - 0.5
        assert steps.sum() == pytest.approx(num_cycles, abs=1e-5)
        assert (steps > 0).all()


def test_no_colour_tells_a_noun_where_none_is_to():
    for mode, tells in (("colour", True), ("shape", False), ("texture", False)):
        hues = []
        for noun in range(len(NOUNS)):
            rng = np.random.default_rng(5)
            colour = render._colour(rng, noun, Difficulty(noun_mode=mode))
            hues.append(round(colorsys.rgb_to_hsv(*colour.tolist())[0], 3))
        assert (len(set(hues)) == len(NOUNS)) == tells
        assert (len(set(hues)) == 1) != tells


def test_textures_differ_and_belong_to_the_object():
    place = np.linspace(-0.9, 0.9, 40, dtype=np.float32)
    x, y = place[None, :], place[:, None]
    painted = [texture(x, y) + np.zeros((40, 40)) for texture in shapes.TEXTURES]
    assert len(painted) == len(NOUNS)
    for index, first in enumerate(painted):
        assert first.min() >= 0
        assert first.max() <= 1
        for second in painted[index + 1 :]:
            assert np.abs(first - second).mean() > 0.1
    plain, textured = (
        render.clip("k", verb=0, noun=3, difficulty=Difficulty(noise=0.0, noun_mode=mode))
        for mode in ("shape", "texture")
    )
    changed = (plain != textured).any(axis=3)
    assert 0.005 < changed.mean() < 0.2


def test_the_lists_of_the_benchmark_are_those_of_the_first_release(tmp_path):
    digest = hashlib.sha256()
    build._write_labels(tmp_path, build.Header())
    for name, split in SPLITS.items():
        if not split.on_request:
            build._write_annotations(tmp_path, name, build.clips_of(name, build.Header()))
    for path in sorted(tmp_path.rglob("*.*")):
        digest.update(path.name.encode() + path.read_bytes())
    assert digest.hexdigest() == RELEASED_LISTS


def test_lists_on_request_hold_every_class_alike():
    for name in ("extended", "rate", "shape", "texture"):
        clips = build.clips_of(name, build.Header())
        words = SPLITS[name].vocabulary
        verbs = np.bincount([clip.verb for clip in clips], minlength=len(words.verbs))
        assert verbs.min() == verbs.max()
        rates = np.bincount([clip.rate for clip in clips])
        assert len(rates) == max(len(words.rates), 1)
        assert rates.max() - rates.min() <= 2
        together = np.zeros((len(words.verbs), len(rates)))
        for clip in clips:
            together[clip.verb, clip.rate] += 1
        assert together.max() - together.min() <= 1  # no verb tells a rate
    assert len(EXTENDED.verbs) == 20
    assert EXTENDED.verbs[: len(VERBS)] == VERBS == BASE.verbs


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The annotations of a few clips a list, without the clips."""
    root = tmp_path_factory.mktemp("motion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SIZES", {"tiny": (20, 20)})
        patch.setattr(processes, "mapped", lambda *_, **__: iter(()))
        list(build.build(root, ["easy", "extended", "rate"], HEADER))
    return root


def test_copies_hold_the_classes_of_each_list_beside_those_of_the_benchmark(copy):
    names = {path.name: path.read_text().splitlines() for path in copy.glob("labels_*.csv")}
    assert {name: len(rows) - 1 for name, rows in names.items()} == {
        "labels_verb.csv": 12, "labels_noun.csv": 8, "labels_verb_extended.csv": 20,
        "labels_rate.csv": 3,
    }  # fmt: skip
    extended, rate = (datasets.load("motion", root=copy, split=s) for s in ("extended", "rate"))
    assert extended.num_classes == {"verb": 20, "noun": 8}
    assert rate.num_classes == {"verb": 12, "noun": 8, "rate": 3}
    verbs = extended.heads["verb"]
    turned = extended.reversals["verb"]
    assert verbs[turned[verbs.index("merge")]] == "split"
    assert verbs[turned[verbs.index("orbit clockwise")]] == "orbit counterclockwise"
    assert {len(video.slices) for video in extended.videos} <= {1, 2}
    assert {slice_ for video in extended.videos for slice_ in video.slices} >= {
        "accelerate / decelerate", "split / merge", "grow / shrink",
    }  # fmt: skip
    assert all(set(video.labels) == {"verb", "noun", "rate"} for video in rate.videos)
    assert "rate" not in rate.reversals
