"""A process that has torch imported and forks a worker for each request.

Usage: python -m vbench.measure.forkserver SOCKET_FD

It never touches CUDA and runs no torch operator itself, so that its children start clean. A
message is one line of JSON each way: a request and the log's path come in; the worker's process
id goes out when it has started, its exit code when it has ended.
"""

import gc
import os
import signal
import socket
import sys
import traceback

import msgspec

from vbench.core import processes
from vbench.measure.request import Request


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the parent sends."""

    request: Request
    log_path: str


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker's process id."""

    pid: int


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The worker's exit code, negative for a signal."""

    exit_code: int


def main() -> None:
    """Serve jobs until the parent closes the socket."""
    processes.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    connection = socket.socket(fileno=int(sys.argv[1]))
    from vbench.measure import environment, worker  # imports torch, before the first fork
    from vbench.measure.probes import PROBES

    list(PROBES)  # imports every probe
    environment.capture("meta")  # what does not change is remembered, and so inherited
    share_memory()
    warm: set[str] = set()
    with connection, connection.makefile("rwb") as stream:
        for line in stream:
            job = msgspec.json.decode(line, type=Job)
            device = job.request.case.device if job.request.case else ""
            if device in worker.WARM_UPS and device not in warm:
                worker.WARM_UPS[device]()
                share_memory()
                warm.add(device)
            pid = os.fork()
            if pid == 0:
                connection.close()
                run_child(job, worker.serve)
            stream.write(msgspec.json.encode(Started(pid=pid)) + b"\n")
            stream.flush()
            _, status = os.waitpid(pid, 0)
            ended = Ended(exit_code=os.waitstatus_to_exitcode(status))
            stream.write(msgspec.json.encode(ended) + b"\n")
            stream.flush()


def share_memory() -> None:
    """Keep the collector off what is loaded, so that children do not copy its pages."""
    gc.collect()
    gc.freeze()


def run_child(job: Job, serve: object) -> None:
    """Serve one request in this forked process, then leave without the server's cleanup."""
    code = 1
    try:
        os.setpgid(0, 0)
        processes.die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        log = os.open(job.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        assert callable(serve)
        serve(job.request)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
