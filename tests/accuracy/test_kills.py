"""An evaluation that is killed at any moment goes on as if it had not been.

By hand, with more kills: python -m tests.accuracy.test_kills 200
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.accuracy.films import write_video
from tests.cli.run import ROOT
from vbench.accuracy.evaluate import read_videos
from vbench.accuracy.evaluation import VIDEOS_FILE

LEVELS = {"a dark": 20, "b middling": 120, "c bright": 230}
PER_CLASS = 7
LONGEST_S = 300.0  # until a record comes; a busy machine starts slowly
TIMES = {"decode_s": None, "wait_s": None, "model_s": None}


def write_films(root):
    """Three classes by brightness, one video that cannot be read and one that is cut off."""
    for name, level in LEVELS.items():
        (root / name).mkdir(parents=True)
        for index in range(PER_CLASS):
            frame = np.full((32, 48, 3), level, dtype=np.uint8)
            write_video(root / name / f"{index}.mp4", 8, size=(48, 32), pictures=[frame] * 8)
    (root / "c bright" / "0.mp4").write_bytes(b"damaged")
    cut = root / "a dark" / "1.ts"
    write_video(cut, 8, size=(48, 32))
    cut.write_bytes(cut.read_bytes()[:-1])
    return root


def started(films, run_dir):
    arguments = [
        "eval", "tests.accuracy.tiny:slow", "--dataset", "folder", "--root", str(films),
        "--random-weights", "--frames", "4", "--resolution", "32", "--device", "cpu",
        "--no-cost", "--workers", "1", "--batch-size", "2", "--out", str(run_dir), "--json",
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "vbench", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def num_lines(run_dir):
    path = run_dir / VIDEOS_FILE
    return path.read_bytes().count(b"\n") if path.exists() else 0


def listed(columns):
    """A line a process of this machine."""
    return subprocess.run(
        ["ps", "-eo", columns], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def children_of(pid):
    """Processes below `pid`, those of the worker's own session among them."""
    pairs = [line.split() for line in listed("pid=,ppid=")]
    parents = {int(child): int(parent) for child, parent in pairs}
    found, added = [], [pid]
    while added:
        added = [child for child, parent in parents.items() if parent in added]
        found += added
    return found


def kill_at_random(films, run_dir, generator):
    """Start or go on, and kill: while it starts, or some time after its next record."""
    before = num_lines(run_dir)
    with started(films, run_dir) as running:
        if generator.random() < 0.8:
            time.sleep(generator.uniform(0.0, 0.5))
        else:
            deadline = time.monotonic() + LONGEST_S
            while num_lines(run_dir) <= before and running.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(generator.uniform(0.0, 0.2))
        victims = [running.pid] + (children_of(running.pid) if generator.random() < 0.3 else [])
        victim = generator.choice(victims)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        if victim != running.pid:  # what is left notices, or is killed too
            try:
                running.wait(timeout=generator.uniform(0.1, 0.5))
            except subprocess.TimeoutExpired:
                running.kill()
        running.communicate()


def finished(films, run_dir):
    """Records by key without their times, and the summary without what times change."""
    with started(films, run_dir) as running:
        output, errors = running.communicate()
    assert running.returncode == 0, errors
    records, _ = read_videos(run_dir)
    found = {r.key: msgspec.json.encode(msgspec.structs.replace(r, **TIMES)) for r in records}
    assert len(found) == len(records) == num_videos(output)
    summary = json.loads((run_dir / "summary.json").read_text("utf-8"))
    for name in ("times", "evaluated_at_utc", "cost"):
        summary.pop(name, None)
    return found, summary


def num_videos(output):
    return json.loads(output)["summary"]["num_videos"]


def orphans():
    lines = [line.split(maxsplit=1) for line in listed("ppid=,args=")]
    return [args for parent, args in lines if parent == "1" and "accuracy.entry" in args]


def trial(folder, *, num_kills, seed):
    """Two evaluations of the same films, one of them killed `num_kills` times."""
    films = write_films(folder / "films")
    expected = finished(films, folder / "undisturbed")
    generator = random.Random(seed)
    for _ in range(num_kills):
        kill_at_random(films, folder / "killed", generator)
    return expected, finished(films, folder / "killed")


@pytest.mark.slow
def test_an_evaluation_killed_at_thirty_moments_ends_as_one_that_was_not(tmp_path):
    (records, summary), (again, other) = trial(tmp_path, num_kills=30, seed=0)
    assert len(records) == 3 * PER_CLASS + 1
    assert again == records
    assert other == summary
    time.sleep(1.0)
    assert orphans() == []


if __name__ == "__main__":
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        one, two = trial(Path(place), num_kills=int(sys.argv[1]), seed=1)
    sys.stdout.write("the same\n" if one == two else "NOT the same\n")
    sys.stdout.write(f"{time.monotonic() - start_s:.0f} s\n")
