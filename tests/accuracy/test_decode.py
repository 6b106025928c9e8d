"""Exact frames from every kind of file, and a named error from every kind of broken one."""

import random

import numpy as np
import pytest

from tests.accuracy.films import (
    ENCODINGS,
    number_of,
    picture,
    trim,
    write_frames,
    write_sound,
    write_video,
)
from vbench.accuracy.container import Index
from vbench.accuracy.decode import VideoFile, opened
from vbench.accuracy.images import DecodeError, MiscountedError


def numbers(path, indices, **options):
    with opened(path, **options) as source:
        frames = source.read(indices)
        return {index: number_of(frame) for index, frame in frames.items()}


@pytest.mark.parametrize("name", ENCODINGS)
def test_any_frame_asked_for_is_the_frame_given(tmp_path, name):
    codec, ending, options = ENCODINGS[name]
    every = 250 if name == "mp4, one group" else 12
    path = tmp_path / f"film.{ending}"
    write_video(path, 61, codec=codec, keyframe_every=every, options=options)
    with opened(path) as source:
        assert source.num_frames == 61
        assert source.fps == pytest.approx(25, rel=0.02)
    for indices in ([0], [60], [59, 3, 3, 31], list(range(61)), [12, 24, 36], [11, 23, 35]):
        assert numbers(path, indices) == {index: index for index in indices}


def test_a_variable_frame_rate_moves_no_frame(tmp_path):
    generator = random.Random(0)
    timestamps = [0]
    for _ in range(49):
        timestamps.append(timestamps[-1] + generator.choice([20, 33, 40, 41, 120]))
    for ending in ("mp4", "mkv"):
        path = write_video(tmp_path / f"vfr.{ending}", 50, timestamps=timestamps)
        assert numbers(path, range(0, 50, 3)) == {index: index for index in range(0, 50, 3)}


def test_a_last_frame_that_is_shown_for_long_is_no_truncation(tmp_path):
    timestamps = [40 * index for index in range(30)] + [20_000]
    path = write_video(tmp_path / "still.mp4", 31, timestamps=timestamps)
    assert numbers(path, [0, 29, 30]) == {0: 0, 29: 29, 30: 30}


def test_a_segment_is_cut_by_time(tmp_path):
    path = write_video(tmp_path / "long.mp4", 100)
    with opened(path, start_s=1.0, stop_s=2.0) as source:
        assert source.num_frames == 25
        frames = source.read([0, 24])
    assert [number_of(frames[0]), number_of(frames[24])] == [25, 49]
    assert numbers(path, [0], start_s=3.97, stop_s=3.98) == {0: 99}
    with pytest.raises(DecodeError, match="no frames"), opened(path, start_s=9.0, stop_s=10.0):
        pass


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts"])
def test_any_segment_holds_the_frames_on_show_in_it(tmp_path, ending):
    codec = "mpeg4" if ending == "avi" else "libx264"
    path = write_video(tmp_path / f"long.{ending}", 75, codec=codec)
    if ending in ("avi", "ts"):
        with pytest.raises(DecodeError, match="cannot be cut by time"):
            numbers(path, [0], start_s=1.0, stop_s=2.0)
        return
    for first, last in [(0, 3), (11, 13), (12, 40), (23, 24), (50, 75)]:
        with opened(path, start_s=first / 25 + 0.001, stop_s=last / 25) as source:
            assert source.num_frames == last - first
            frames = source.read(range(last - first))
        assert [number_of(frames[i]) for i in range(last - first)] == list(range(first, last))


def test_a_segment_reads_no_more_of_its_file_than_it_needs(tmp_path):
    path = write_video(tmp_path / "long.mp4", 200, keyframe_every=20)
    with opened(path, start_s=4.0, stop_s=4.4) as source:
        assert isinstance(source, VideoFile)
        assert source._index.num_packets <= 40


def test_a_file_trimmed_by_an_edit_list_begins_at_its_cut(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", 60, keyframe_every=20)
    path = trim(whole, tmp_path / "trimmed.mp4", first=10)
    with opened(path) as source:
        assert source.num_frames == 50
    assert numbers(path, [0, 9, 10, 49]) == {0: 10, 9: 19, 10: 20, 49: 59}


def test_only_distinct_frames_are_decoded(tmp_path):
    path = write_video(tmp_path / "film.mp4", 20)
    with opened(path) as source:
        assert sorted(source.read([5, 5, 5, 7])) == [5, 7]


def test_colours_are_those_that_were_written(tmp_path):
    bands = np.zeros((48, 80, 3), dtype=np.uint8)
    bands[:, :27], bands[:, 27:54], bands[:, 54:] = (220, 30, 40), (30, 200, 50), (20, 40, 210)
    path = write_video(tmp_path / "bands.mp4", 3, pictures=[bands] * 3, options={"crf": "1"})
    with opened(path) as source:
        frame = source.read([1])[1].astype(int)
    for column in (13, 40, 67):
        assert np.abs(frame[24, column] - bands[24, column]).max() < 8


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_video_is_turned_upright(tmp_path, rotation):
    path = write_video(tmp_path / "turned.mp4", 3, rotation=rotation)
    with opened(path) as source:
        frame = source.read([2])[2]
    upright = np.rot90(picture(2), rotation // 90)
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("size", [(81, 49), (2, 2), (17, 31)])
def test_odd_sizes_keep_their_size(tmp_path, size):
    shown = [np.full((size[1], size[0], 3), 90, dtype=np.uint8)] * 3
    path = write_video(tmp_path / "odd.mkv", 3, size=size, codec="mpeg4", pictures=shown)
    with opened(path) as source:
        assert source.read([0])[0].shape == (size[1], size[0], 3)


def test_one_frame_is_a_video(tmp_path):
    path = write_video(tmp_path / "one.mp4", 1)
    with opened(path) as source:
        assert source.num_frames == 1
    assert numbers(path, [0, 0]) == {0: 0}


def test_sound_beside_the_picture_changes_nothing(tmp_path):
    path = write_video(tmp_path / "both.mp4", 30, with_audio=True)
    assert numbers(path, [0, 13, 29]) == {0: 0, 13: 13, 29: 29}


def test_a_folder_of_images_is_read_in_the_order_of_their_numbers(tmp_path):
    folder = write_frames(tmp_path / "clip", 12, first=1)
    for path in list(folder.iterdir()):  # no zero padding: "10" sorts before "2" as text
        path.rename(folder / f"frame{int(path.stem)}.jpg")
    assert numbers(folder, range(12)) == {index: index for index in range(12)}


def test_an_image_is_a_video_of_one_frame(tmp_path):
    folder = write_frames(tmp_path / "images", 1)
    with opened(folder / "00001.jpg") as source:
        assert source.num_frames == 1
        assert number_of(source.read([0])[0]) == 0


def broken_files(folder):
    """Name -> a broken file and the reason that must be given."""
    whole = write_video(folder / "whole.mp4", 60).read_bytes()
    files = {
        "absent.mp4": (None, "missing"),
        "empty.mp4": (b"", "empty"),
        "text.mp4": (b"404: not found\n" * 40, "unreadable"),
        "noise.avi": (random.Random(1).randbytes(20_000), "unreadable"),
        "head.mp4": (whole[: len(whole) // 2], "unreadable"),
        "headless.mp4": (whole[len(whole) // 2 :], "unreadable"),
        "noise.jpg": (b"\xff\xd8\xff\xe0" + random.Random(2).randbytes(500), "corrupt"),
    }
    for name, (data, _) in files.items():
        if data is not None:
            (folder / name).write_bytes(data)
    return {name: reason for name, (_, reason) in files.items()}


def test_each_broken_file_is_one_named_error(tmp_path):
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(DecodeError, match=name) as caught, opened(tmp_path / name) as source:
            source.read([0])
        assert caught.value.reason == reason, name


def test_sound_alone_is_no_video(tmp_path):
    path = write_sound(tmp_path / "sound.m4a")
    with pytest.raises(DecodeError, match="no video"), opened(path):
        pass


def test_an_empty_folder_has_no_frames(tmp_path):
    (tmp_path / "clip").mkdir()
    with pytest.raises(DecodeError, match="no frames"), opened(tmp_path / "clip"):
        pass


def test_a_cut_off_image_is_corrupt(tmp_path):
    folder = write_frames(tmp_path / "clip", 3)
    image = folder / "00002.jpg"
    image.write_bytes(image.read_bytes()[:600])
    assert numbers(folder, [0, 2]) == {0: 0, 2: 2}
    with pytest.raises(DecodeError, match=r"corrupt: 00002\.jpg"):
        numbers(folder, [1])


@pytest.mark.parametrize("ending", ["mkv", "webm", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_cut_off_file_is_truncated_not_shorter(tmp_path, ending, share):
    codec = {"mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4"}[ending]
    path = write_video(tmp_path / f"film.{ending}", 100, codec=codec)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DecodeError) as caught, opened(path) as source:
        source.read([0])
    assert caught.value.reason in ("truncated", "unreadable")


def test_a_fast_start_file_that_is_cut_off_is_truncated(tmp_path):
    path = write_video(tmp_path / "fast.mp4", 100)
    data = bytearray(path.read_bytes())
    # Zero the last media bytes but leave the index, as an interrupted copy of a sparse file does.
    start = data.index(b"mdat") + 4
    end = data.rindex(b"moov") - 4
    data[start + (end - start) // 2 : end] = bytes(end - start - (end - start) // 2)
    path.write_bytes(bytes(data))
    with pytest.raises(DecodeError) as caught, opened(path) as source:
        source.read([source.num_frames - 1])
    assert caught.value.reason in ("corrupt", "truncated", "unreadable")


def test_a_lost_last_frame_is_counted_again(tmp_path, monkeypatch):
    from vbench.accuracy import decode

    path = write_video(tmp_path / "film.avi", 30, codec="mpeg4")
    monkeypatch.setattr(decode, "MOST_COUNTED", 0)
    with opened(path) as source:
        assert isinstance(source, decode.VideoFile)
        source._index = Index(timestamps=[], keyframes=[], num_packets=31)
        source._count = 31
        with pytest.raises(MiscountedError, match="30 of 31"):
            source.read([30])
        assert source.num_frames == 30
        assert number_of(source.read([29])[29]) == 29
