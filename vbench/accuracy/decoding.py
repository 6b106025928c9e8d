"""Decoding processes: videos in, views out through shared memory, one process dead harms no other.

A worker holds two slots of shared memory, so that it decodes the next video while the last waits to
be used. Results come in the order of the tasks. A worker that crashes or hangs is replaced, and the
video it was at is reported as unreadable; damaged files do crash decoders.
"""

import contextlib
import mmap
import multiprocessing
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy.datasets import Video
from vbench.accuracy.decode import opened
from vbench.accuracy.images import DecodeError, MiscountedError
from vbench.accuracy.protocols import Protocol
from vbench.accuracy.sampling import frame_indices
from vbench.accuracy.transforms import resize, views
from vbench.accuracy.windows import Window
from vbench.core import processes
from vbench.core.errors import UsageError

SLOTS_PER_WORKER: Final = 2
READY: Final = "ready"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """What became of one video.

    Attributes:
        slot: Where its views lie; None if it cannot be read.
        damage: Signs that a video which can be read is not whole.
    """

    slot: int | None
    num_frames: int | None
    decode_s: float
    error: str | None = None
    damage: str | None = None


class Views(NamedTuple):
    """What a video gives a model.

    Attributes:
        pixels: (V, T, H, W, 3).
        num_frames: Of the video.
        damage: Signs that it is not whole.
    """

    pixels: NDArray[Any]
    num_frames: int
    damage: str | None


def decode_views(root: Path, video: Video, protocol: Protocol) -> Views:
    """The views of one video, or of one window of it: see `windows.parts`.

    Raises:
        DecodeError: It cannot be read.
    """
    window = video.windows[0] if video.windows else None
    with opened(
        root / video.path,
        start_s=video.start_s,
        stop_s=video.stop_s,
        start_frame=video.start_frame,
        stop_frame=video.stop_frame,
    ) as source:
        try:
            pixels = _sampled(source, protocol, window)
        except MiscountedError:
            if source.num_frames < 1:
                raise
            pixels = _sampled(source, protocol, window)
        return Views(pixels, source.num_frames, source.damage)


def _sampled(source: Any, protocol: Protocol, window: Window | None) -> NDArray[Any]:
    clips = frame_indices(source.num_frames, protocol.sampling, fps=source.fps, window=window)
    wanted = [index for clip in clips for index in clip]
    resized = source.read(wanted, lambda frame: resize(frame, protocol.spatial))
    return views(resized, clips, protocol.spatial)


def view_shape(protocol: Protocol) -> tuple[int, ...]:
    """Of a video's views as they leave a worker."""
    side = protocol.spatial.crop_px
    return (protocol.num_views, protocol.num_frames, side, side, 3)


class _Memory:
    """Slots in a file without a name, so that nothing is left behind however processes end."""

    def __init__(self, protocol: Protocol) -> None:
        size = int(np.prod(view_shape(protocol))) * protocol.spatial.dtype.itemsize
        shared = Path("/dev/shm")
        place = shared if os.access(shared, os.W_OK) else None
        with tempfile.TemporaryFile(dir=place) as file:
            file.truncate(size * SLOTS_PER_WORKER)
            self._descriptor = os.dup(file.fileno())

    def __getstate__(self) -> object:
        """Hand the open file itself to a process that is being started."""
        return reduction.DupFd(self._descriptor)

    def __setstate__(self, duplicate: Any) -> None:
        self._descriptor = duplicate.detach()

    def slots(self, protocol: Protocol) -> NDArray[Any]:
        """The slots, shared by all who map them: (slots, V, T, H, W, 3). To be called once."""
        mapped = mmap.mmap(self._descriptor, 0)
        os.close(self._descriptor)
        flat = np.frombuffer(mapped, dtype=protocol.spatial.dtype)
        return flat.reshape(SLOTS_PER_WORKER, *view_shape(protocol))


def _serve(connection: Connection, memory: _Memory, root: Path, protocol: Protocol) -> None:
    """Decode what comes until the connection closes."""
    processes.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _one_thread(protocol)
    slots = memory.slots(protocol)
    with contextlib.suppress(EOFError, BrokenPipeError):
        connection.send(READY)
        while True:
            video, slot = connection.recv()
            connection.send(_decode_into(slots[slot], slot, root, video, protocol))


def _one_thread(protocol: Protocol) -> None:
    if protocol.spatial.needs_torch:
        import torch

        torch.set_num_threads(1)


def _decode_into(
    place: NDArray[Any], slot: int, root: Path, video: Video, protocol: Protocol
) -> Decoded:
    start_s = time.perf_counter()
    try:
        decoded = decode_views(root, video, protocol)
        place[...] = decoded.pixels
    except (DecodeError, UsageError, OSError, MemoryError) as error:
        spent = time.perf_counter() - start_s
        message = str(error) or type(error).__name__
        return Decoded(slot=None, num_frames=None, decode_s=spent, error=message)
    return Decoded(
        slot=slot,
        num_frames=decoded.num_frames,
        decode_s=time.perf_counter() - start_s,
        damage=decoded.damage,
    )


@dataclass(slots=True)
class _Worker:
    """One decoding process and what it has been given."""

    process: ForkServerProcess
    connection: Connection
    slots: NDArray[Any]
    free: list[int]
    given: deque[tuple[int, int]] = field(default_factory=deque)  # (task, slot), oldest first
    since_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One video's outcome, and its views if it could be read.

    The views are valid until the next result is asked for.
    """

    decoded: Decoded
    views: NDArray[Any] | None
    wait_s: float


class DecodingPool:
    """Decodes videos in processes of their own, in order."""

    def __init__(
        self, root: Path, protocol: Protocol, *, num_workers: int, timeout_s: float
    ) -> None:
        self._root = root
        self._protocol = protocol
        self._timeout_s = timeout_s
        self._context = multiprocessing.get_context("forkserver")
        preload = ["vbench.accuracy.decoding", "av"]
        preload += ["torch"] if protocol.spatial.needs_torch else []
        self._context.set_forkserver_preload(preload)
        self._workers = [self._started() for _ in range(num_workers)]

    def wait_until_ready(self) -> None:
        """Let all processes start, so that their start counts in no video's time."""
        for worker in self._workers:
            worker.connection.recv()

    def _started(self) -> _Worker:
        memory = _Memory(self._protocol)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, memory, self._root, self._protocol), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(
            process=process,
            connection=ours,
            slots=memory.slots(self._protocol),
            free=list(range(SLOTS_PER_WORKER)),
        )

    def results(self, videos: Sequence[Video]) -> Iterator[Result]:
        """The outcome of each video, in order."""
        pending = deque(range(len(videos)))
        done: dict[int, tuple[Decoded, _Worker]] = {}
        for task in range(len(videos)):
            start_s = time.perf_counter()
            self._give(pending, videos)
            while task not in done:
                self._collect(done, pending)
                self._give(pending, videos)
            decoded, worker = done.pop(task)
            place = None if decoded.slot is None else worker.slots[decoded.slot]
            yield Result(decoded=decoded, views=place, wait_s=time.perf_counter() - start_s)
            if decoded.slot is not None:
                worker.free.append(decoded.slot)

    def _give(self, pending: deque[int], videos: Sequence[Video]) -> None:
        """Hand out tasks in order, to the idlest first."""
        while pending:
            ready = [worker for worker in self._workers if worker.free]
            if not ready:
                return
            worker = min(ready, key=lambda worker: len(worker.given))
            task, slot = pending.popleft(), worker.free.pop()
            if not worker.given:
                worker.since_s = time.monotonic()
            worker.given.append((task, slot))
            with contextlib.suppress(BrokenPipeError):  # it has just died: noticed in _collect
                worker.connection.send((videos[task], slot))

    def _collect(self, done: dict[int, tuple[Decoded, _Worker]], pending: deque[int]) -> None:
        """Wait for the next outcome, a death, or the end of a worker's time."""
        busy = {worker.connection: worker for worker in self._workers if worker.given}
        ready = wait(list(busy), timeout=min(self._timeout_s, 1.0))
        for connection in ready:
            worker = busy[connection]  # type: ignore[index]
            try:
                decoded: Decoded = worker.connection.recv()
            except (EOFError, OSError):
                self._replace(worker, done, pending, "the decoder crashed on this file")
                continue
            task, slot = worker.given.popleft()
            worker.since_s = time.monotonic()
            if decoded.slot is None:
                worker.free.append(slot)
            done[task] = decoded, worker
        for worker in busy.values():
            if worker.given and time.monotonic() - worker.since_s > self._timeout_s:
                reason = f"not decoded within {self._timeout_s:g} s"
                self._replace(worker, done, pending, reason)

    def _replace(
        self,
        worker: _Worker,
        done: dict[int, tuple[Decoded, _Worker]],
        pending: deque[int],
        reason: str,
    ) -> None:
        """End a worker, blame the video it was at, and hand its other task to someone else."""
        (task, _), *others = worker.given
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        spent = time.monotonic() - worker.since_s
        done[task] = Decoded(slot=None, num_frames=None, decode_s=spent, error=reason), worker
        pending.extendleft(task for task, _ in reversed(others))
        started = self._started()
        started.connection.recv()
        self._workers[self._workers.index(worker)] = started

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
