"""Errors a user can act on, each with the exit code the command line gives it.

VbenchError 1
|- UsageError 2        the request itself is wrong
|- RegressionError 4   the second of two is worse
|- UnavailableError 3  the request is right, this machine cannot
`- StoreError 3        results cannot be written or read
"""


class VbenchError(Exception):
    """Base of every expected failure. The command line prints the message, never a traceback.

    Attributes:
        hint: What to do next, or None.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(VbenchError):
    """The request itself is wrong: an unknown name, a malformed spec, a missing file."""

    exit_code = 2


class UnavailableError(VbenchError):
    """The request is right but this machine cannot serve it: no GPU, a package not installed."""

    exit_code = 3


class StoreError(VbenchError):
    """Results cannot be written or read: no permission, a full disk."""

    exit_code = 3


class RegressionError(VbenchError):
    """A comparison found that the second of two is worse, beyond chance."""

    exit_code = 4
