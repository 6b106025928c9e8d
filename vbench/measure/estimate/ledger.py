"""Which bytes are alive, known from the lifetimes of storages."""

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
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
    """

    def __init__(self, device_type: str = "meta") -> None:
        self.live_bytes = 0
        self.peak_bytes = 0
        self.at_peak: Mapping[Kind, int] = {}
        self._device_type = device_type
        self._entries: dict[int, tuple[weakref.ref[object], int, Kind]] = {}
        self._by_kind: Counter[Kind] = Counter()

    def add(self, tensor: Tensor, kind: Kind = "activations") -> bool:
        """Note the storage of `tensor`; whether it is new."""
        if tensor.device.type != self._device_type:
            return False
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._entries:
            return False
        nbytes = -(-storage.nbytes() // ALLOCATION_BYTES) * ALLOCATION_BYTES
        reference: weakref.ref[object] = weakref.ref(storage, lambda _: self._free(key))
        self._entries[key] = (reference, nbytes, kind)
        self._by_kind[kind] += nbytes
        self.live_bytes += nbytes
        if self.live_bytes > self.peak_bytes:
            self._note_peak()
        return True

    def mark(self, tensors: Iterable[Tensor], kind: Kind) -> None:
        """Say what the storages of `tensors` are for; adds those not seen before."""
        for tensor in tensors:
            if self.add(tensor, kind) or tensor.device.type != self._device_type:
                continue
            key = tensor.untyped_storage()._cdata
            reference, nbytes, old = self._entries[key]
            self._entries[key] = (reference, nbytes, kind)
            self._by_kind[old] -= nbytes
            self._by_kind[kind] += nbytes
            if self.live_bytes == self.peak_bytes:
                self._note_peak()

    def mark_rest(self, kind: Kind) -> None:
        """Say what all storages that are activations so far are for."""
        for key, (reference, nbytes, old) in self._entries.items():
            if old == "activations":
                self._entries[key] = (reference, nbytes, kind)
        self._by_kind[kind] += self._by_kind.pop("activations", 0)

    def begin(self) -> None:
        """Forget the peak."""
        self._note_peak()

    def _note_peak(self) -> None:
        self.peak_bytes = self.live_bytes
        self.at_peak = dict(self._by_kind)

    def _free(self, key: int) -> None:
        _, nbytes, kind = self._entries.pop(key)
        self._by_kind[kind] -= nbytes
        self.live_bytes -= nbytes
