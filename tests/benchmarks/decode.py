"""Decoding beside a plain loop: the same frames of the same films, in turns, one thread each.

Usage: python -m tests.benchmarks.decode [--films 12] [--rounds 5]

Frames a second of CPU time: vbench's decoder, PyAV read from the first frame to the last that is
wanted, and decord where it is installed. All give the same frames, which is checked first.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import av
import numpy as np

from tests.accuracy.films import number_of, write_video
from vbench.accuracy.decode import opened
from vbench.accuracy.sampling import Sampling, frame_indices

NUM_FRAMES = 300
SIZE = (340, 256)
SAMPLINGS = {
    "one clip of 8 frames over the video": Sampling(
        rule="segments_middle", num_frames=8, frame_stride=1, num_clips=1
    ),
    "five clips of 16 frames, stride 4": Sampling(
        rule="dense_stride_first", num_frames=16, frame_stride=4, num_clips=5
    ),
}
Read = Callable[[Path, Sequence[int]], list[np.ndarray]]


def by_vbench(path: Path, indices: Sequence[int]) -> list[np.ndarray]:
    with opened(path) as source:
        frames = source.read(indices, lambda frame: frame)
    return [frames[index] for index in indices]


def by_pyav_loop(path: Path, indices: Sequence[int]) -> list[np.ndarray]:
    wanted, found = set(indices), {}
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                found[index] = frame.to_ndarray(format="rgb24")
            if index >= max(wanted):
                break
    return [found[index] for index in indices]


def by_decord(path: Path, indices: Sequence[int]) -> list[np.ndarray]:
    import decord

    return list(decord.VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy())


def readers() -> dict[str, Read]:
    found: dict[str, Read] = {"vbench": by_vbench, "PyAV loop": by_pyav_loop}
    try:
        import decord  # noqa: F401
    except ImportError:
        print("decord is not installed: left out", file=sys.stderr)
    else:
        found["decord"] = by_decord
    return found


def check(found: dict[str, Read], path: Path, indices: Sequence[int]) -> None:
    """Every reader must give the frames that were asked for."""
    for name, read in found.items():
        numbers = [number_of(frame) for frame in read(path, indices)]
        if numbers != list(indices):
            raise SystemExit(f"{name} gives other frames: {numbers} for {list(indices)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    found = readers()
    with tempfile.TemporaryDirectory() as folder:
        for keyframe_every in (12, 250):
            films = [
                write_video(
                    Path(folder) / f"{keyframe_every}-{place}.mp4",
                    NUM_FRAMES,
                    size=SIZE,
                    keyframe_every=keyframe_every,
                )
                for place in range(asked.films)
            ]
            for title, sampling in SAMPLINGS.items():
                clips = frame_indices(NUM_FRAMES, sampling)
                indices = sorted({index for clip in clips for index in clip})
                check(found, films[0], indices)
                rates: dict[str, list[float]] = {name: [] for name in found}
                for _ in range(asked.rounds):
                    for name, read in found.items():
                        start_s = time.process_time()
                        for film in films:
                            read(film, indices)
                        taken_s = time.process_time() - start_s
                        rates[name].append(len(films) * len(indices) / taken_s)
                shown = ", ".join(f"{name} {median(rate):.0f}" for name, rate in rates.items())
                ratio = median(
                    a / b for a, b in zip(rates["vbench"], rates[list(found)[-1]], strict=True)
                )
                print(f"key frame every {keyframe_every}, {title}: frames/s of CPU: {shown}; "
                      f"vbench / {list(found)[-1]} {ratio:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
