"""Every kind of damaged file is read right, or named; nothing crashes, hangs or opens others."""

import contextlib
import random

import pytest

from tests.accuracy.films import (
    ENCODINGS,
    number_of,
    trim,
    write_frames,
    write_sound,
    write_video,
)
from vbench.accuracy import container, protocols
from vbench.accuracy.datasets import Video
from vbench.accuracy.decode import opened
from vbench.accuracy.decoding import DecodingPool
from vbench.accuracy.images import DecodeError, MiscountedError

LISTS = {
    "concat": b"ffconcat version 1.0\nfile film.mp4\n",
    "playlist": b"#EXTM3U\n#EXTINF:2,\nfilm.mp4\n#EXT-X-ENDLIST\n",
    "remote": b"#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:9/film.ts\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_a_list_of_other_files_is_no_video(tmp_path, name, ending):
    write_video(tmp_path / "film.mp4", 5)
    path = tmp_path / f"list.{ending}"
    path.write_bytes(LISTS[name])
    with pytest.raises(DecodeError, match="unreadable: list"), opened(path):
        pass


def test_a_picture_named_as_a_video_is_none(tmp_path):
    folder = write_frames(tmp_path / "images", 1)
    path = (folder / "00001.jpg").rename(tmp_path / "thumbnail.mp4")
    with pytest.raises(DecodeError, match="unreadable: thumbnail"), opened(path):
        pass


def test_a_header_that_claims_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "huge.mp4", 5)
    monkeypatch.setattr(container, "MOST_PIXELS", 80 * 48 - 1)
    with pytest.raises(DecodeError, match=r"unreadable: huge.mp4 claims 80 x 48"), opened(path):
        pass


def signs(path):
    with opened(path) as source:
        with contextlib.suppress(MiscountedError):
            source.read(range(source.num_frames))
        return source.damage


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_whole_file_shows_no_sign_of_damage(tmp_path, name):
    codec, ending, options = ENCODINGS[name]
    path = write_video(tmp_path / f"film.{ending}", 30, codec=codec, options=options)
    assert signs(path) is None


def test_a_trimmed_file_and_a_folder_of_images_show_no_sign_of_damage(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", 60, keyframe_every=20)
    assert signs(trim(whole, tmp_path / "trimmed.mp4", first=10)) is None
    assert signs(write_frames(tmp_path / "clip", 3)) is None


def test_a_frame_that_does_not_decode_is_concealed_and_named(tmp_path):
    path = write_video(tmp_path / "film.mp4", 60, size=(320, 240))
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat"), data.rindex(b"moov")
    middle = (start + end) // 2
    data[middle : middle + 300] = random.Random(5).randbytes(300)
    path.write_bytes(bytes(data))
    found = signs(path)
    assert found is not None
    assert "frames do not decode" in found
    assert "errors, the first of h264" in found


def test_the_last_frames_of_a_file_that_ends_early_are_named(tmp_path):
    path = write_video(tmp_path / "film.ts", 60)
    path.write_bytes(path.read_bytes()[:-1])
    assert "the file ends early" in (signs(path) or "")
    avi = write_video(tmp_path / "film.avi", 60, codec="mpeg4")
    data = avi.read_bytes()
    avi.write_bytes(data[: int(0.99 * data.rindex(b"idx1"))])
    assert "of 60 frames" in (signs(avi) or "")


def test_a_film_that_lost_most_frames_is_not_a_slow_one(tmp_path):
    path = write_video(tmp_path / "film.mkv", 100)
    data = bytearray(path.read_bytes())
    start, end = len(data) // 10, 9 * len(data) // 10
    data[start:end] = random.Random(6).randbytes(end - start)
    path.write_bytes(bytes(data))
    with pytest.raises(DecodeError) as caught, opened(path) as source:
        source.read([0])
    assert caught.value.reason in ("corrupt", "truncated", "unreadable")


NUM_FRAMES = 40


def whole_files(folder):
    """Ten good files: every kind of container, edit lists, variable rates, sound, odd sizes."""
    folder.mkdir()
    vfr = [40 * index + 9 * (index % 3) for index in range(NUM_FRAMES)]
    films = [
        write_video(folder / "a.mp4", NUM_FRAMES, options={"bf": "8"}),
        write_video(folder / "b.mkv", NUM_FRAMES, with_audio=True),
        write_video(folder / "c.webm", NUM_FRAMES, codec="libvpx-vp9"),
        write_video(folder / "d.avi", NUM_FRAMES, codec="mpeg4"),
        write_video(folder / "e.ts", NUM_FRAMES),
        write_video(folder / "f.mpg", NUM_FRAMES, codec="mpeg2video"),
        write_video(folder / "g.flv", NUM_FRAMES, codec="flv1"),
        write_video(folder / "h.mp4", NUM_FRAMES, timestamps=vfr),
        write_video(folder / "i.mov", NUM_FRAMES, codec="mjpeg"),
    ]
    return [*films, trim(films[0], folder / "j.mp4", first=4)]


def damaged(data, kind, generator):
    """`data` with one kind of damage."""
    found = bytearray(data)
    place = generator.randrange(len(found))
    if kind == "cut":
        del found[place:]
    elif kind == "beheaded":
        del found[:place]
    elif kind == "hole":
        found[place : place + 64] = bytes(len(found[place : place + 64]))
    elif kind == "gap":
        del found[place : place + 64]
    elif kind == "header":
        for _ in range(8):
            found[generator.randrange(len(found) // 8)] = generator.randrange(256)
    else:
        for _ in range(20):
            found[generator.randrange(len(found))] ^= 1 << generator.randrange(8)
    return bytes(found)


KINDS = ("cut", "beheaded", "hole", "gap", "header", "flips")


def write_corpus(folder, seed):
    """Damaged copies of good files under right and wrong endings, and files that are no video."""
    generator = random.Random(seed)
    whole = whole_files(folder.with_name("whole"))
    folder.mkdir()
    for film in whole:
        for number, kind in enumerate(KINDS):
            ending = film.suffix if number % 3 else generator.choice([".mp4", ".avi", ".mkv"])
            path = folder / f"{film.stem}_{kind}{ending}"
            path.write_bytes(damaged(film.read_bytes(), kind, generator))
    write_sound(folder / "sound.mp4")
    for name, data in [("empty", b""), ("text", b"no such video\n"), ("noise", bytes(999))]:
        (folder / f"{name}.mkv").write_bytes(data)
    return sorted(folder.iterdir())


def outcome(path, source):
    """Whether all frames show their numbers, from the first on show."""
    first = 4 if path.name.startswith("j_") else 0
    seen = source.read(range(source.num_frames))
    is_right = all(number_of(frame) == index + first for index, frame in seen.items())
    return "right" if is_right and source.num_frames >= NUM_FRAMES - first else "other"


def test_a_corpus_of_damaged_files_is_read_right_or_named(tmp_path):
    outcomes = {}
    for path in write_corpus(tmp_path / "corpus", seed=11):
        try:
            with opened(path) as source:
                shown = "recounted"
                with contextlib.suppress(MiscountedError):
                    shown = outcome(path, source)
                named = source.damage is not None
        except DecodeError as error:
            shown, named = "refused", path.name in str(error)
        outcomes[path.name] = (shown, named)
    silent = [name for name, (shown, named) in outcomes.items() if not named and shown != "right"]
    # Without checksums, another picture is as good as the one that was meant.
    assert len(outcomes) == 64
    assert len(silent) <= 4, silent
    assert {shown for shown, _ in outcomes.values()} >= {"right", "refused", "other"}


def test_damaged_files_leave_the_pool_in_order_each_with_its_outcome(tmp_path):
    files = write_corpus(tmp_path / "corpus", seed=12)
    videos = [Video(key=path.name, path=path.name, labels={"class": 0}) for path in files]
    protocol = protocols.custom(num_frames=2, size_px=32)
    pool = DecodingPool(tmp_path / "corpus", protocol, num_workers=2, timeout_s=30.0)
    with contextlib.closing(pool):
        pool.wait_until_ready()
        found = [(r.decoded, r.views is not None) for r in pool.results(videos)]
    assert len(found) == len(videos)
    for video, (decoded, has_views) in zip(videos, found, strict=True):
        assert has_views == (decoded.error is None)
        assert "crashed" not in (decoded.error or "")
        assert decoded.error is None or video.key in decoded.error
    assert any(decoded.damage for decoded, _ in found)
