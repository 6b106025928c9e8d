"""What can go wrong when a model is asked for: what was wanted, what was got, what is allowed."""


class ZooError(Exception):
    """Base of the zoo's expected failures.

    Attributes:
        hint: What to do next, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UnknownModelError(ZooError, LookupError):
    """No variant has that name."""


class UnsupportedInputError(ZooError, ValueError):
    """The architecture cannot take that frame count, resolution, attention or class count."""


class CheckpointError(ZooError, ValueError):
    """A checkpoint is unreadable or does not fit the model."""


class MissingLibraryError(ZooError, ImportError):
    """The library that a model comes from is not installed or cannot be imported."""
