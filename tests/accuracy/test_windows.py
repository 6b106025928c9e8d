"""Windows over long videos: where they lie, which frames they show, what their scores become."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from tests.accuracy import tiny
from tests.accuracy.films import write_video
from vbench.accuracy import worker
from vbench.accuracy.datasets import Video
from vbench.accuracy.decoding import Decoded, decode_views
from vbench.accuracy.evaluate import opened
from vbench.accuracy.planning import Asked, plan
from vbench.accuracy.sampling import Sampling, frame_indices
from vbench.accuracy.summary import summarise
from vbench.accuracy.transforms import to_clips
from vbench.accuracy.windows import Windows, cut, parts
from vbench.core.errors import UsageError

VIDEOMAMBA = Windows(length_s=60, stride_s=16, least_s=30)
VIS4MER = Windows(length_s=60, stride_s=1, least_s=60)


def test_videomamba_slides_by_16_seconds_and_drops_a_tail_of_less_than_30():
    assert VIDEOMAMBA.of(94) == ((0, 60), (16, 76), (32, 92), (48, 94), (64, 94))
    assert VIDEOMAMBA.of(93.9)[-1] == (48, 93.9)
    assert VIDEOMAMBA.of(60) == ((0, 60), (16, 60))
    assert VIDEOMAMBA.of(59.9) == ((0, 59.9),)


def test_vis4mer_slides_by_a_second_and_drops_what_is_shorter_than_a_minute():
    assert VIS4MER.of(131) == tuple((start, start + 60) for start in range(72))
    assert VIS4MER.of(60) == ((0, 60),)
    assert VIS4MER.of(21) == ((0, 21),)


@pytest.mark.parametrize("duration_s", np.arange(1, 300, 7.3).tolist())
def test_windows_begin_where_a_loop_over_whole_seconds_puts_them(duration_s):
    expected = [
        (start, min(start + 60, duration_s))
        for start in range(0, int(duration_s), 16)
        if start + 60 <= duration_s or duration_s - start >= 30
    ]
    assert VIDEOMAMBA.of(duration_s) == (
        tuple(expected) if duration_s >= 60 else ((0, duration_s),)
    )
    first = Windows(length_s=60, stride_s=16, least_s=30, is_first_alone=True)
    assert first.of(duration_s) == VIDEOMAMBA.of(duration_s)[:1]


# Computed with _get_seq_frames of VideoMamba's datasets/lvu.py: frames, fps, window, clip of four.
ORIGINAL = [
    (3140, 24000 / 1001, (0, 60), 0, [35, 215, 395, 574, 754, 934, 1113, 1293]),
    (3140, 24000 / 1001, (16, 76), 3, [526, 706, 886, 1066, 1246, 1425, 1605, 1785]),
    (3140, 24000 / 1001, (80, 130.9), 1, [1979, 2131, 2284, 2437, 2589, 2741, 2894, 3047]),
    (3930, 30000 / 1001, (48, 108), 2, [1572, 1797, 2022, 2246, 2471, 2696, 2920, 3145]),
    (750, 25.0, (0, 30.04), 0, [18, 112, 205, 299, 392, 486, 580, 673]),
    (101, 25.0, (0, 4.05), 3, [10, 22, 35, 48, 60, 72, 85, 98]),
    (5, 25.0, (0, 0.2), 1, [0, 0, 1, 2, 2, 2, 3, 4]),
]


@pytest.mark.parametrize(("length", "fps", "window", "clip", "expected"), ORIGINAL)
def test_the_frames_of_a_window_are_those_of_the_original(length, fps, window, clip, expected):
    sampling = Sampling(rule="segments_offset", num_frames=8, num_clips=4)
    assert frame_indices(length, sampling, fps=fps, window=window)[clip] == expected


def test_a_frame_a_second_of_a_sliding_minute():
    sampling = Sampling(rule="segments_shifted", num_frames=60)
    (clip,) = frame_indices(25 * 131, sampling, fps=25.0, window=(7, 67))
    assert clip == [25 * second for second in range(7, 67)]


def test_a_window_of_a_video_of_unknown_speed_is_refused():
    sampling = Sampling(rule="segments_shifted", num_frames=4)
    with pytest.raises(UsageError, match="windows need the frames a second"):
        frame_indices(100, sampling, window=(0, 60))


def test_a_window_past_the_end_shows_the_last_frame():
    sampling = Sampling(rule="segments_offset", num_frames=4)
    assert frame_indices(100, sampling, fps=25.0, window=(60, 120)) == [[99] * 4]


SECONDS = {"short": 20, "long": 63, "longer": 66}
LEVELS = {"short": 20, "long": 120, "longer": 230}  # of the first frames; the others are black


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Films of a frame a second, with the lists of two tasks; two of them are from one film."""
    root = tmp_path_factory.mktemp("lvu")
    for name, seconds in SECONDS.items():
        shades = [LEVELS[name]] * 4 + [0] * (seconds - 4)
        pictures = [np.full((48, 80, 3), shade, dtype=np.uint8) for shade in shades]
        write_video(root / f"{name}.mp4", seconds, rate=1, pictures=pictures)
    lists = {
        "scene": "class_id class_name youtube_id imdb_id\n"
        "0 an office short tt1\n2 a car long tt2\n2 a car longer tt2\n",
        "view_count": "view_count youtube_id imdb_id\n"
        "100 short tt1\n2000 long tt2\n30000 longer tt2\n",
    }
    for task, text in lists.items():
        (root / task).mkdir()
        (root / task / "test.csv").write_text(text)
    return root


def asked(root, task, model, **changes):
    settings: dict[str, Any] = {
        "model": f"tests.accuracy.tiny:{model}", "dataset": f"lvu_{task}", "root": root,
        "device": "cpu", "checkpoint": None, "num_frames": 4, "size_px": 32,
        "protocol": "vis4mer-lvu",
    } | changes  # fmt: skip
    return plan(Asked(**settings))


def evaluated(planned, run_dir):
    with opened(planned, run_dir) as evaluation:
        list(evaluation.run(num_workers=2))
        return {record.key: record for record in evaluation.records}


def outputs_of(planned, key, model):
    """What a model says of each view of a video, its windows taken one by one."""
    (video,) = [video for video in planned.videos if video.key == key]
    protocol = planned.spec.protocol
    found = []
    for part in parts(video):
        pixels = decode_views(planned.asked.folder, part, protocol).pixels
        found.append(model(to_clips(torch.from_numpy(pixels), protocol.spatial)))
    return torch.cat(found).double().numpy()


def test_a_class_is_answered_by_the_sum_of_probabilities_over_windows(clips, tmp_path):
    planned = asked(clips, "scene", "bright", batch_views=2)
    assert [len(v.windows) for v in sorted(planned.videos, key=lambda v: v.key)] == [4, 7, 1]
    assert planned.views_per_video == 4
    records = evaluated(planned, tmp_path)
    model = tiny.bright(num_classes=6)
    for key, record in records.items():
        summed = softmax(outputs_of(planned, key, model), axis=1).sum(axis=0)
        head = record.heads["class"]
        assert head.top == tuple(np.argsort(-summed)[:5])
        assert head.label_probability == pytest.approx(
            summed[record.labels["class"]] / summed.sum(), abs=1e-6
        )
        assert record.num_frames == SECONDS[key]
    shares = {s.metric: s for s in summarise(planned.spec, list(records.values())).scores}
    assert shares["top1"].baseline == pytest.approx(2 / 3)  # what the commonest class would give
    assert shares["top1"].interval.method == "bootstrap over 2 groups"


def test_a_value_is_the_mean_over_windows_and_its_error_that_of_the_mean(clips, tmp_path):
    planned = asked(clips, "view_count", "mean")
    records = evaluated(planned, tmp_path)
    errors = []
    for key, record in records.items():
        mean = outputs_of(planned, key, tiny.mean()).mean()
        assert record.value == pytest.approx(mean, abs=1e-5)
        errors.append((mean - record.target) ** 2)
    (score,) = summarise(planned.spec, list(records.values())).scores
    assert score.metric == "mse"
    assert score.value == pytest.approx(np.mean(errors), abs=1e-4)
    assert score.interval.method == "bootstrap over 2 groups"
    assert score.baseline == pytest.approx(np.var([record.target for record in records.values()]))


def test_only_the_first_window_counts_where_the_authors_merge_no_other(clips):
    planned = asked(clips, "scene", "bright", protocol="videomamba-lvu-windows")
    lengths = {video.key: video.windows for video in planned.videos}
    assert lengths == {"short": ((0, 20),), "long": ((0, 60),), "longer": ((0, 60),)}
    assert planned.views_per_video == 12
    whole = asked(clips, "scene", "bright", protocol="videomamba-lvu")
    assert all(not video.windows for video in whole.videos)


def test_the_length_is_that_of_the_list_before_that_of_the_file(clips, tmp_path):
    rule = Windows(length_s=10, stride_s=5, least_s=10)
    video = Video(key="short", path="short.mp4")
    assert cut(video, rule, clips).windows == ((0, 10), (5, 15), (10, 20))
    listed = Video(key="short", path="short.mp4", duration_s=12.0)
    assert cut(listed, rule, clips).windows == ((0, 10),)
    (tmp_path / "broken.mp4").write_bytes(b"damaged")
    broken = Video(key="broken", path="broken.mp4")
    assert cut(broken, rule, tmp_path) == broken
    with pytest.raises(UsageError, match="windows are cut from video files"):
        cut(Video(key="x", path="."), rule, tmp_path)


def seen(logits, *, error=None, damage=None):
    decoded = Decoded(
        slot=None if error else 0, num_frames=None if error else 9, decode_s=1.0, error=error,
        damage=damage,
    )  # fmt: skip
    outputs = {"": {"class": np.array([logits], dtype=np.float32)}}
    return worker._Seen(decoded=decoded, wait_s=0.5, model_s=0.25, outputs=outputs)


def test_windows_that_cannot_be_read_are_left_out_and_said():
    joined = worker._joined([seen([0, 0], error="corrupt: x"), seen([1, 2]), seen([3, 4])])
    assert joined.outputs[""]["class"].tolist() == [[1, 2], [3, 4]]
    assert joined.decoded.damage == "1 of 3 windows cannot be read: corrupt: x"
    assert (joined.decoded.num_frames, joined.decoded.decode_s) == (9, 3.0)
    assert (joined.wait_s, joined.model_s) == (1.5, 0.75)
    lost = worker._joined([seen([0, 0], error="empty: x"), seen([0, 0], error="empty: x")])
    assert (lost.decoded.slot, lost.decoded.error) == (None, "empty: x")
