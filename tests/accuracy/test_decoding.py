"""The decoding pool: in order, whatever becomes of its processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.accuracy.films import write_video
from tests.cli.run import ROOT
from vbench.accuracy import protocols
from vbench.accuracy.datasets import Video
from vbench.accuracy.decoding import DecodingPool, decode_views

PROTOCOL = protocols.custom(num_frames=2, size_px=48)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for index in range(12):
        write_video(folder / f"{index}.mp4", 8 + index)
    (folder / "broken.mp4").write_bytes(b"nothing")
    os.mkfifo(folder / "pipe.mp4")  # opening it would wait for a writer that never comes
    return folder


def film(name):
    return Video(key=name, path=f"{name}.mp4", labels={"class": 0})


def results(root, videos, *, timeout_s=30.0, num_workers=2, meanwhile=lambda pool: None):
    pool = DecodingPool(root, PROTOCOL, num_workers=num_workers, timeout_s=timeout_s)
    found = []
    try:
        pool.wait_until_ready()
        for result in pool.results(videos):
            views = None if result.views is None else result.views.copy()
            found.append((result.decoded, views))
            meanwhile(pool)
    finally:
        pool.close()
    return found


def test_results_come_in_order_and_equal_those_of_one_process(root):
    videos = [film(str(index)) for index in range(12)]
    found = results(root, videos)
    for video, (decoded, views) in zip(videos, found, strict=True):
        expected, num_frames, _ = decode_views(root, video, PROTOCOL)
        assert decoded.num_frames == num_frames
        assert np.array_equal(views, expected)


def test_an_unreadable_video_is_an_outcome(root):
    (first, _), (broken, views), (pipe, _), (last, _) = results(
        root, [film("0"), film("broken"), film("pipe"), film("1")]
    )
    assert "empty" in (pipe.error or "")
    assert first.error is None
    assert last.error is None
    assert views is None
    assert "unreadable: broken.mp4" in (broken.error or "")


def test_a_process_that_is_killed_costs_one_video_at_most(root):
    killed: list[int] = []

    def kill_once(pool):
        if not killed:
            victim = pool._workers[0].process
            os.kill(victim.pid, signal.SIGKILL)
            killed.append(victim.pid)

    found = results(root, [film(str(index)) for index in range(12)], meanwhile=kill_once)
    errors = [decoded.error for decoded, _ in found if decoded.error]
    assert len(found) == 12
    assert len(errors) <= 1
    assert all("crashed" in error for error in errors)


def test_a_process_that_hangs_is_given_up_after_its_time(root):
    stopped: list[int] = []

    def stop_once(pool):
        if not stopped:
            victim = pool._workers[0].process
            os.kill(victim.pid, signal.SIGSTOP)
            stopped.append(victim.pid)

    start_s = time.monotonic()
    videos = [film(str(index)) for index in range(12)]
    found = results(root, videos, timeout_s=1.5, meanwhile=stop_once)
    errors = [decoded.error for decoded, _ in found if decoded.error]
    assert len(found) == 12
    assert errors in ([], ["not decoded within 1.5 s"])
    assert time.monotonic() - start_s < 30


def test_a_segment_shows_its_own_frames(root):
    segment = Video(key="s", path="11.mp4", labels={}, start_s=0.2, stop_s=0.4)
    views, num_frames, _ = decode_views(root, segment, PROTOCOL)
    assert num_frames == 5
    whole, _, _ = decode_views(root, film("11"), protocols.custom(num_frames=19, size_px=48))
    # Middles of the two halves of frames 5 to 9 are frames 6 and 8.
    assert np.array_equal(views[0, 0], whole[0, 6])
    assert np.array_equal(views[0, 1], whole[0, 8])


def test_nothing_is_left_in_shared_memory(root):
    before = set(Path("/dev/shm").iterdir())
    results(root, [film("0")])
    assert {p for p in set(Path("/dev/shm").iterdir()) - before if "vbench" in p.name} == set()


def test_a_decoding_process_does_without_torch():
    code = (
        "import sys, vbench.accuracy.entry, vbench.accuracy.decoding;"
        "sys.exit([name for name in ('torch', 'pandas', 'rich') if name in sys.modules] or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
