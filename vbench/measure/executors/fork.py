"""The default executor: workers forked from one process that has torch imported."""

import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from vbench.core import processes
from vbench.core.errors import UnavailableError
from vbench.measure.executors import EXECUTORS, Ending
from vbench.measure.forkserver import Ended, Job, Started
from vbench.measure.request import Request

M = TypeVar("M")

START_TIMEOUT_S = 300.0  # importing torch from a cold disk


class ForkExecutor:
    """Sends requests to a fork server, which it starts when it is needed and when it has died."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="vbench-")
        self._num_requests = 0

    def run(self, request: Request, *, timeout_s: float) -> Ending:
        """Fork a worker for `request` and wait for it, at most `timeout_s`.

        Raises:
            UnavailableError: The server cannot start, for instance because torch cannot.
        """
        self._num_requests += 1
        log = Path(self._folder.name) / f"{self._num_requests}.log"
        kills_before = processes.num_oom_kills()
        exit_code = self._run(Job(request=request, log_path=str(log)), timeout_s)
        ending = Ending(
            exit_code=exit_code,
            outcome=processes.read_if_written(Path(request.outcome_path)),
            log=processes.tail(log),
            out_of_host_memory=processes.num_oom_kills() > kills_before,
        )
        log.unlink(missing_ok=True)
        return ending

    def _run(self, job: Job, timeout_s: float) -> int | None:
        """Exit code of the worker, or None after a timeout."""
        if self._connection is None or not self._connection.is_alive():
            self._stop()
            self._connection = Connection(Path(self._folder.name) / "server.log")
        connection = self._connection
        pid = connection.start(job)
        try:
            try:
                return connection.receive(Ended, timeout_s=timeout_s).exit_code
            except TimeoutError:
                processes.kill_group(pid)
                connection.receive(Ended, timeout_s=START_TIMEOUT_S)
                return None
        except EOFError:  # the server was killed, and its worker with it
            processes.kill_group(pid)
            self._stop()
            return -9
        except BaseException:  # Ctrl-C: leave nothing running
            processes.kill_group(pid)
            self._stop()
            raise

    def close(self) -> None:
        """End the server."""
        self._stop()
        self._folder.cleanup()

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Connection:
    """A running fork server and the socket to it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._buffer = b""
        self._socket, theirs = socket.socketpair()
        with theirs, log.open("ab") as output:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "vbench.measure.forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=processes.worker_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def is_alive(self) -> bool:
        """Whether the server can still fork."""
        return self._server.poll() is None

    def start(self, job: Job) -> int:
        """Process id of the worker for `job`.

        Raises:
            UnavailableError: The server ended instead.
        """
        try:
            self._socket.sendall(msgspec.json.encode(job) + b"\n")
            return self.receive(Started, timeout_s=START_TIMEOUT_S).pid
        except (EOFError, OSError):
            self._server.wait()
            last = processes.tail(self._log).strip().rpartition("\n")[2]
            raise UnavailableError(
                f"the measuring process cannot start: {last or 'it was killed'}",
                hint="`vbench doctor` checks the installation",
            ) from None

    def receive(self, kind: type[M], *, timeout_s: float) -> M:
        """The server's next message.

        Raises:
            EOFError: The server is gone.
            TimeoutError: No message came in time.
        """
        self._socket.settimeout(timeout_s)
        while b"\n" not in self._buffer:
            try:
                data = self._socket.recv(4096)
            except ConnectionError:
                raise EOFError from None
            if not data:
                raise EOFError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return msgspec.json.decode(line, type=kind)

    def close(self) -> None:
        """Kill the server and wait for it."""
        self._socket.close()
        self._server.kill()
        self._server.wait()


EXECUTORS.add("fork", ForkExecutor)
