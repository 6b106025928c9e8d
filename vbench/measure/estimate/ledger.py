"""Which bytes are alive, known from the lifetimes of storages."""

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

from torch import Tensor

Kind = Literal["weights", "clips", "state", "activations"]

ALLOCATION_BYTES: Final = 512
"""The unit in which torch's CUDA allocator counts allocated bytes. What it reserves of the device,
in blocks of 2 MiB and more, is another quantity, as is what libraries take for their workspaces."""


class Ledger:
    """Adds up storages on one type of device from when they are first seen until they are freed.

    Attributes:
        live_bytes: Now.
        peak_bytes: Most since the start or since `begin`.
        at_peak: The peak by kind.
        purpose: Kind of what is new.
        activation_peak_bytes: Most activations alone, which may be at another moment: under
            autocast the copies of weights grow until the end.
    """

    def __init__(self, device_type: str = "meta") -> None:
        self.live_bytes = 0
        self.peak_bytes = 0
        self.activation_peak_bytes = 0
        self.at_peak: Mapping[Kind, int] = {}
        self._device_type = device_type
        self._entries: dict[int, tuple[weakref.ref[object], int, Kind]] = {}
        self._by_kind: Counter[Kind] = Counter()
        self.purpose: Kind = "activations"

    @contextmanager
    def allocating(self, kind: Kind) -> Iterator[None]:
        """Take what is new until the context ends for `kind`."""
        outer, self.purpose = self.purpose, kind
        try:
            yield
        finally:
            self.purpose = outer

    def add(self, tensor: Tensor) -> bool:
        """Note the storage of `tensor`; whether it is new."""
        if tensor.device.type != self._device_type:
            return False
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._entries:
            return False
        kind = self.purpose
        nbytes = -(-storage.nbytes() // ALLOCATION_BYTES) * ALLOCATION_BYTES
        reference: weakref.ref[object] = weakref.ref(storage, lambda _: self._free(key))
        self._entries[key] = (reference, nbytes, kind)
        self._by_kind[kind] += nbytes
        self.live_bytes += nbytes
        self._note_peaks()
        return True

    def mark(self, tensors: Iterable[Tensor], kind: Kind) -> None:
        """Say what the storages of `tensors`, known or not, are for."""
        for tensor in tensors:
            with self.allocating(kind):
                is_new = self.add(tensor)
            if not is_new and tensor.device.type == self._device_type:
                self._change(tensor.untyped_storage()._cdata, kind)

    def mark_rest(self, kind: Kind) -> None:
        """Say what all storages that are activations so far are for."""
        for key, (_, _, old) in list(self._entries.items()):
            if old == "activations":
                self._change(key, kind)

    def _change(self, key: int, kind: Kind) -> None:
        reference, nbytes, old = self._entries[key]
        self._entries[key] = (reference, nbytes, kind)
        self._by_kind[old] -= nbytes
        self._by_kind[kind] += nbytes

    def begin(self) -> None:
        """Forget the peaks."""
        self.peak_bytes = self.activation_peak_bytes = -1
        self._note_peaks()

    def _note_peaks(self) -> None:
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            self.at_peak = dict(self._by_kind)
        self.activation_peak_bytes = max(self.activation_peak_bytes, self._by_kind["activations"])

    def _free(self, key: int) -> None:
        _, nbytes, kind = self._entries.pop(key)
        self._by_kind[kind] -= nbytes
        self.live_bytes -= nbytes
