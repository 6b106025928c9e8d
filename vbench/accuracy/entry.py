"""Where the evaluating process begins: one request on stdin, a line a batch to the pipe named.

Usage: python -m vbench.accuracy.entry PIPE_FD

It imports torch only inside `main`: every decoding process imports this module once more, as the
main module of the process that started it, and decodes without torch.
"""

import sys

from vbench.core import processes


def main() -> None:
    """Serve the request on stdin."""
    processes.die_with_parent()
    from vbench.accuracy.worker import serve

    serve(sys.stdin.buffer.read(), pipe=int(sys.argv[1]))


if __name__ == "__main__":
    main()
