"""Sizes, crops and pixels against the libraries that the protocols name."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vbench.accuracy.resize import resize_cv2, resized_size
from vbench.accuracy.transforms import Spatial, crop_offsets, middle_crop, resize, to_clips, views

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cv2_resize.json").read_text("utf-8"))


def noise(height, width, seed=0):
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_resizing_equals_opencv_to_the_bit():
    generator = np.random.Generator(np.random.PCG64(20))
    for case in GOLDEN["frames"]:
        frame = generator.integers(0, 256, (*case["from"], 3), dtype=np.uint8)
        resized = resize_cv2(frame[None], *case["to"])[0]
        assert hashlib.sha256(resized.tobytes()).hexdigest() == case["sha256"], case["from"]


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("truncate", (224, 398)),
        ("floor", (224, 398)),
        ("floor_integer", (224, 398)),
        ("half_up", (224, 399)),
    ],
)
def test_the_longer_side_is_rounded_by_the_rule(rounding, expected):
    assert resized_size(240, 427, 224, rounding) == expected
    assert resized_size(427, 240, 224, rounding) == expected[::-1]


def test_a_frame_of_the_right_size_is_left_as_it_is():
    for width in range(224, 700):
        for rounding in ("truncate", "floor", "floor_integer", "half_up"):
            assert resized_size(224, width, 224, rounding) == (224, width)
    frame = noise(224, 300)
    assert np.array_equal(resize(frame, Spatial(short_side_px=224, crop_px=224)), frame)


@pytest.mark.parametrize(
    ("rule", "three", "one"),
    [
        ("steps", [0, 36, 73], 36),
        ("ceil", [0, 37, 73], 37),
        ("margin", [0, 36, 73], 36),
        ("thirds", [0, 72, 36], 36),
    ],
)
def test_crops_begin_where_the_original_cuts(rule, three, one):
    crops = Spatial(short_side_px=224, crop_px=224, num_crops=3, crop_rule=rule)
    assert crop_offsets(224, 297, crops) == [(0, left) for left in three]
    assert crop_offsets(297, 224, crops) == [(top, 0) for top in three]
    alone = Spatial(short_side_px=224, crop_px=224, crop_rule=rule)
    assert crop_offsets(224, 297, alone) == [(0, one)]
    assert crop_offsets(224, 297, crops)[middle_crop(crops)] == (0, one)


def test_a_crop_smaller_than_the_short_side_is_centred_in_it():
    spatial = Spatial(short_side_px=256, crop_px=224, crop_rule="rounded")
    assert crop_offsets(256, 341, spatial) == [(16, 58)]


def test_normalising_first_equals_the_original_order():
    frame = noise(60, 100)
    spatial = Spatial(
        short_side_px=32, crop_px=32, num_crops=3, backend="torch", rounding="floor",
        crop_rule="ceil", mean=(0.45,) * 3, std=(0.225,) * 3,
    )  # fmt: skip
    planes = (torch.from_numpy(frame).float() / 255.0 - 0.45) / 0.225
    expected = F.interpolate(
        planes.permute(2, 0, 1)[None], size=(32, 53), mode="bilinear", align_corners=False
    )
    cut = views({0: resize(frame, spatial)}, [[0, 0]], spatial)
    clips = to_clips(torch.from_numpy(cut), spatial)
    assert clips.shape == (3, 3, 2, 32, 32)
    for view, left in enumerate((0, 11, 21)):
        assert torch.equal(clips[view, :, 0], expected[0, :, :, left : left + 32])
        assert torch.equal(clips[view, :, 1], clips[view, :, 0])


def test_normalising_last_equals_the_original_order():
    frame = noise(32, 40)
    spatial = Spatial(short_side_px=32, crop_px=32)
    clips = to_clips(torch.from_numpy(views({3: frame}, [[3]], spatial)), spatial)
    expected = torch.from_numpy(frame[:, 4:36].copy()).permute(2, 0, 1).float().div(255)
    mean = torch.tensor(spatial.mean).reshape(3, 1, 1)
    std = torch.tensor(spatial.std).reshape(3, 1, 1)
    assert torch.equal(clips[0, :, 0], (expected - mean) / std)


def test_bgr_swaps_red_and_blue():
    frame = noise(32, 32)
    plain = resize(frame, Spatial(short_side_px=32, crop_px=32))
    swapped = resize(frame, Spatial(short_side_px=32, crop_px=32, channel_order="bgr"))
    assert np.array_equal(plain[..., ::-1], swapped)


def test_tsm_cuts_three_crops_by_quarters_along_the_width():
    crops = Spatial(short_side_px=224, crop_px=224, num_crops=3, crop_rule="quarters")
    assert crop_offsets(224, 297, crops) == [(0, 0), (0, 72), (0, 36)]
    assert crop_offsets(297, 224, crops) == [(36, 0)] * 3
    assert middle_crop(crops) == 2
    alone = Spatial(short_side_px=256, crop_px=224, crop_rule="quarters")
    assert crop_offsets(256, 341, alone) == [(16, 58)]


@pytest.mark.parametrize("rule", ["quarters", "thirds"])
def test_ten_crops_are_corners_and_centre_each_also_mirrored(rule):
    spatial = Spatial(short_side_px=40, crop_px=32, num_crops=10, crop_rule=rule)
    offsets = [(0, 0), (0, 20), (8, 0), (8, 20), (4, 10)]
    assert crop_offsets(40, 55, spatial) == [place for place in offsets for _ in range(2)]
    frame = noise(40, 55)
    cut = views({0: frame}, [[0, 0], [0, 0]], spatial)
    assert cut.shape == (20, 2, 32, 32, 3)
    for clip in range(2):
        for k, (top, left) in enumerate(offsets):
            crop = frame[top : top + 32, left : left + 32]
            assert np.array_equal(cut[10 * clip + 2 * k, 0], crop)
            assert np.array_equal(cut[10 * clip + 2 * k + 1, 1], crop[:, ::-1])
    assert crop_offsets(40, 55, spatial)[middle_crop(spatial)] == (4, 10)
    assert middle_crop(spatial) % 2 == 0


@pytest.mark.parametrize(
    ("backend", "rounded"), [("torch_rounded", True), ("torch_truncated", False)]
)
def test_frames_may_be_made_8_bit_again_after_resizing(backend, rounded):
    frame = noise(60, 100)
    spatial = Spatial(short_side_px=32, crop_px=32, backend=backend, resized_px=(32, 43))
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    expected = F.interpolate(planes, size=(32, 43), mode="bilinear", align_corners=False)[0]
    expected = (expected.round() if rounded else expected).to(torch.uint8)
    resized = resize(frame, spatial)
    assert resized.dtype == np.uint8
    assert np.array_equal(resized, expected.permute(1, 2, 0).numpy())


def test_frames_of_tsm_are_resized_as_pillow_does():
    frame = noise(100, 150)
    spatial = Spatial(short_side_px=64, crop_px=56, backend="pil_bilinear")
    expected = np.asarray(Image.fromarray(frame).resize((96, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(resize(frame, spatial), expected)


def test_images_are_resized_as_torchvision_does():
    frame = noise(100, 150)
    spatial = Spatial(short_side_px=64, crop_px=56, backend="pil_bicubic", crop_rule="rounded")
    expected = np.asarray(Image.fromarray(frame).resize((96, 64), Image.Resampling.BICUBIC))
    cut = views({0: resize(frame, spatial)}, [[0]], spatial)
    assert np.array_equal(cut[0, 0], expected[4:60, 20:76])


def test_views_are_clips_in_order_each_with_its_crops():
    frames = {index: np.full((4, 8, 3), index, dtype=np.uint8) for index in (2, 5, 9)}
    spatial = Spatial(short_side_px=4, crop_px=4, num_crops=3)
    cut = views(frames, [[2, 5], [9, 9]], spatial)
    assert cut.shape == (6, 2, 4, 4, 3)
    assert [cut[v, :, 0, 0, 0].tolist() for v in range(6)] == [[2, 5]] * 3 + [[9, 9]] * 3
