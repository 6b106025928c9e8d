"""Frame indices against those of the original implementations, and what every rule must keep."""

import contextlib
import json
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
import pytest
import torch

from vbench.accuracy.sampling import RULES, Sampling, frame_indices, resampled
from vbench.core.errors import UsageError

# Computed with the original functions of the repositories named in `sampling`; those of ViViT with
# the arithmetic of its TensorFlow code in NumPy, those of PySlowFast with a reader that gives the
# frames between two timestamps.
GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "frame_indices.json").read_text("utf-8")
)

ORIGINALS = {
    "videomamba_sparse_f8_S4": ("segments_offset", 8, 1, 4, None),
    "videomae_dense_16x4_S5": ("dense_stride_first", 16, 4, 5, None),
    "ssv2_decord_f16_S2": ("segments_interleaved", 16, 1, 2, None),
    "ssv2_raw_f8_S2": ("segments_shifted", 8, 1, 2, None),
    "uniformer_k400_16x4_S4": ("dense_linspace", 16, 4, 4, None),
    "uniformer_sth_f16": ("segments_offset", 16, 1, 1, None),
    "slowfast_mid_f8": ("segments_middle", 8, 1, 1, None),
    "timesformer_k400_8x32_30fps": ("timed_linspace", 8, 32, 1, 30.0),
    "timesformer_k400_8x32_25fps": ("timed_linspace", 8, 32, 1, 25.0),
    "evl_8x16_S3": ("dense_centred", 8, 16, 3, None),
    "evl_16x16_S1": ("dense_centred", 16, 16, 1, None),
    "aim_32x4_S3": ("dense_loop", 32, 4, 3, None),
    "mmaction1_8x8_S10": ("dense_spread_loop", 8, 8, 10, None),
    "mmaction1_c3d_16x1_S10": ("dense_spread_loop", 16, 1, 10, None),
    "mmaction1_timesformer_8x32_S1": ("dense_spread_loop", 8, 32, 1, None),
    "mmaction1_tsn_25": ("segments_twice", 25, 1, 1, None),
    "mmaction1_tsm_8_twice": ("segments_twice", 8, 1, 2, None),
    "mmaction1_mvit_u16": ("segments_offset", 16, 1, 1, None),
    "mmaction1_tsn_dense_25": ("dense_64_loop", 25, 1, 10, None),
    "tsm_8": ("segments_twice", 8, 1, 1, None),
    "tsm_16_twice": ("segments_twice", 16, 1, 2, None),
    "tsm_8_dense": ("dense_64_loop", 8, 8, 10, None),
    "slowfast_8x8_S10_30fps": ("timed_shares", 8, 8, 10, 30.0),
    "slowfast_32x2_S10_25fps": ("timed_shares", 32, 2, 10, 25.0),
    "slowfast_4x16_S10_30000_1001": ("timed_shares", 4, 16, 10, 30000 / 1001),
    "x3d_13x6_S10_15fps": ("timed_shares", 13, 6, 10, 15.0),
    "mvit_16x4_S5_30fps": ("timed_offset", 16, 4, 5, 30.0),
    "mvit_32x3_S5_25fps": ("timed_offset", 32, 3, 5, 25.0),
    "mvit_16x4_S5_60fps": ("timed_offset", 16, 4, 5, 60.0),
    "vivit_32x2_S4": ("dense_even_loop", 32, 2, 4, None),
    "torchvision_16_15fps_S5_30": ("resampled_windows", 16, 2, 5, 30.0),
    "torchvision_16_15fps_S5_25": ("resampled_windows", 16, 2, 5, 25.0),
    "torchvision_16_15fps_S5_30000_1001": ("resampled_windows", 16, 2, 5, 30000 / 1001),
}
POINTS = [(int(length), name) for length, vectors in GOLDEN.items() for name in vectors]


def indices(rule, length, num_frames, stride=1, num_clips=1, fps=30.0):
    sampling = Sampling(rule=rule, num_frames=num_frames, frame_stride=stride, num_clips=num_clips)
    return frame_indices(length, sampling, fps=fps)


@pytest.mark.parametrize(("length", "name"), POINTS)
def test_indices_equal_those_of_the_original(length, name):
    rule, num_frames, stride, num_clips, fps = ORIGINALS[name]
    expected = GOLDEN[str(length)][name]
    expected = expected if isinstance(expected[0], list) else [expected]
    assert indices(rule, length, num_frames, stride, num_clips, fps) == expected


def test_every_vector_of_the_golden_file_is_tested():
    assert {name for vectors in GOLDEN.values() for name in vectors} == set(ORIGINALS)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_clip_of_any_video_has_its_frames_in_order_and_inside(rule):
    num_clips = 2 if rule in ("segments_interleaved", "segments_twice") else 3
    for length in [*range(1, 70), 100, 257, 300, 1801]:
        for num_frames, stride in [(1, 1), (4, 2), (8, 8), (16, 4)]:
            clips = indices(rule, length, num_frames, stride, num_clips)
            assert [len(clip) for clip in clips] == [num_frames] * num_clips
            assert all(0 <= i < length for clip in clips for i in clip)
            if not rule.endswith("loop"):
                assert all(clip == sorted(clip) for clip in clips)


@pytest.mark.parametrize("num_clips", [1, 4])
def test_linspace_rules_round_as_torch_does(num_clips):
    for num_frames, stride in [(8, 8), (16, 4), (16, 8), (32, 4)]:
        span = num_frames * stride
        for length in range(1, 700, 7):
            free = max(length - span, 0)
            steps = [free // 2] if num_clips == 1 else [c * (free // 3) for c in range(num_clips)]
            expected = [
                torch.linspace(start, start + span - 1, num_frames)
                .clamp(0, length - 1)
                .long()
                .tolist()
                for start in steps
            ]
            assert indices("dense_linspace", length, num_frames, stride, num_clips) == expected


@pytest.mark.parametrize("fps", [12.0, 24000 / 1001, 25.0, 30000 / 1001, 50.0, 60.0])
def test_timed_rule_truncates_as_torch_does(fps):
    for num_frames, stride in [(8, 32), (16, 16), (96, 4)]:
        span = num_frames * stride * fps / 30
        for length in (40, 251, 300, 620):
            decoded = min(length, int(span - 1) + 2)
            points = torch.linspace(0, span - 1, num_frames).clamp(0, decoded - 1)
            expected = [points.long().tolist()]
            assert indices("timed_linspace", length, num_frames, stride, 1, fps) == expected


@pytest.mark.parametrize("fps", ["30", "25", "24", "60", "15", "30000/1001", "24000/1001"])
@pytest.mark.parametrize("length", [2, 3, 10, 61, 300])
def test_a_video_is_resampled_as_ffmpeg_does(fps, length):
    graph = av.filter.Graph()
    time_base = 1 / Fraction(fps)
    grey = av.VideoFormat("gray", 16, 16)
    source = graph.add_buffer(width=16, height=16, format=grey, time_base=time_base)
    converter, sink = graph.add("fps", "fps=25"), graph.add("buffersink")
    source.link_to(converter)
    converter.link_to(sink)
    graph.configure()
    for index in range(length):
        pixels = np.full((16, 16), index // 256, dtype=np.uint8)
        pixels[0] = index % 256
        frame = av.VideoFrame.from_ndarray(pixels, format="gray")
        frame.pts, frame.time_base, frame.duration = index, time_base, 1
        graph.push(frame)
    graph.push(None)
    shown = []
    with contextlib.suppress(EOFError):
        while True:
            converted = graph.pull().to_ndarray()
            shown.append(int(converted[1, 0]) * 256 + int(converted[0, 0]))
    assert resampled(length, float(Fraction(fps)), 25) == shown


def test_a_rule_counts_frames_of_the_resampled_video():
    sampling = Sampling(
        rule="dense_even_loop", num_frames=4, frame_stride=2, num_clips=2, resample_fps=25
    )
    assert frame_indices(60, sampling, fps=50.0) == [[0, 4, 8, 12], [44, 48, 52, 56]]
    assert frame_indices(60, sampling) == [[0, 2, 4, 6], [52, 54, 56, 58]]


def test_a_video_shorter_than_a_window_ends_in_its_last_frame():
    assert indices("resampled_windows", 5, 8, 2, 2, fps=30.0) == [[0, 2, 4, 4, 4, 4, 4, 4]] * 2


def test_striding_first_and_windowing_first_differ():
    assert indices("dense_stride_first", 47, 8, 4, 2) == [
        [0, 4, 8, 12, 16, 20, 24, 28],
        [16, 20, 24, 28, 32, 36, 40, 44],
    ]
    assert indices("dense_window_first", 47, 8, 4, 2) == [
        [0, 4, 8, 12, 16, 20, 24, 28],
        [15, 19, 23, 27, 31, 35, 39, 43],
    ]


def test_segments_follow_the_length_of_the_video():
    for rule in ("segments_offset", "segments_middle", "segments_shifted"):
        short, long = indices(rule, 100, 10)[0], indices(rule, 1000, 10)[0]
        assert all(abs(10 * a - b) <= 20 for a, b in zip(short, long, strict=True))


@pytest.mark.parametrize(
    ("rule", "length", "num_clips", "fps", "message"),
    [
        ("dense_lop", 10, 1, None, "unknown sampling rule: dense_lop"),
        ("dense_loop", 0, 1, None, "at least one frame, this has: 0"),
        ("dense_loop", 10, 0, None, "at least 1"),
        ("segments_interleaved", 10, 3, None, "at most 2 clips, not: 3"),
        ("segments_twice", 10, 3, None, "at most 2 clips, not: 3"),
        ("timed_linspace", 10, 1, None, "frames a second"),
        ("timed_shares", 10, 1, None, "frames a second"),
        ("timed_offset", 10, 1, None, "frames a second"),
        ("resampled_windows", 10, 1, None, "frames a second"),
    ],
)
def test_what_no_rule_can_do_is_said(rule, length, num_clips, fps, message):
    with pytest.raises(UsageError, match=message):
        indices(rule, length, 8, 1, num_clips, fps)
