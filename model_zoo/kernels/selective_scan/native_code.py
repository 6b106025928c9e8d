"""What the compiled selective scan does with a chunk of tokens and a block of channels.

Step sizes are made first, once; then the states go through the chunk a few at a time, held in
registers; then the outputs are gated and stored. Nothing of the size of tokens times states ever
reaches memory. Directions add up in the output.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import torch

from model_zoo.kernels._channel_walk_ir import ChannelWalkIR, Place, Steps
from model_zoo.kernels._llvm import FLOAT_BYTES
from model_zoo.kernels.selective_scan.native import Scan

STATES_ABREAST: Final = 4  # chains of instructions; with more, registers run out


class ScanIR(ChannelWalkIR[Scan]):
    """Writes the selective scan."""

    def __init__(self, kind: Scan) -> None:
        super().__init__(kind, "selective_scan")
        self.step, self.increment, self.output = self.buffers

    def chunk(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Keep a checkpoint, prepare, advance the states, finish."""
        self._keep_checkpoint(place)
        self._prepare(place, streams)
        first = 0
        for size, num_groups in Counter(self.kind.group_sizes).items():
            self._advance_groups(place, first, size, num_groups)
            first += size * num_groups
        self._finish(place, streams)

    def _keep_checkpoint(self, place: Place) -> None:
        """Write the states if a checkpoint falls on the chunk's beginning."""
        code, every = self.code, self.field["checkpoint_steps"]
        with code.builder.if_then(code.compare(">", every, 0)):
            index = code.quotient(place.start, every)
            is_due = code.compare("==", place.start, code.product(index, every))
            with code.builder.if_then(is_due):
                first = code.sum(
                    self.of_token("checkpoints", place.g, index),
                    code.product(place.channel, FLOAT_BYTES),
                )
                distance = code.product(self.field["channels"], FLOAT_BYTES)
                checkpoint = Steps(first, distance)

                def state(n: Any) -> None:
                    source = self.vector_at(place.kept, n)
                    destination = self.at_step(checkpoint, n)
                    code.copy(source, destination, place.num_lanes, torch.float32)

                code.loop(self.kind.num_states, state)

    def _prepare(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Make step sizes, increments before B, and what of the output does not come from states.

        That is the skip and, except in the first direction, the output so far.
        """
        code, dtype = self.code, self.kind.dtype
        skip, bias = (code.load(self.of_block(name, place)) for name in ("D", "delta_bias"))
        is_later = code.compare(">", place.g, 0)

        def body(t: Any) -> None:
            self.prefetch_next_block(streams, t)
            u = code.load(self.at_step(streams["u"], t), dtype)
            step = code.add(code.load(self.at_step(streams["delta"], t), dtype), bias)
            if self.kind.delta_softplus:
                step = code.softplus(step)
            code.store(step, self.at_step(self.step, t))
            code.store(code.multiply(step, u), self.at_step(self.increment, t))
            so_far = code.either(
                is_later,
                lambda: code.load(self.at_step(streams["y"], t), dtype),
                (code.constant(0),) * len(t),
            )
            code.store(code.multiply_add(skip, u, so_far), self.at_step(self.output, t))

        self.loop_abreast(place.num_steps, body)

    def _advance_groups(self, place: Place, first: int, size: int, num_groups: int) -> None:
        """Take groups of `size` states through the chunk, one group after another."""
        code = self.code
        code.loop(
            num_groups,
            lambda group: self._advance(place, code.sum(first, code.product(group, size)), size),
        )

    def _advance(self, place: Place, first: Any, size: int) -> None:
        """Take some states through the chunk and add what they give to the output."""
        code = self.code
        rates = self.vector_at(self.of_block("A", place, self.kind.num_states), first)
        states = self.vector_at(place.kept, first)
        B, C = (self.steps(x, place, code.product(first, FLOAT_BYTES)) for x in ("B", "C"))

        def body(t: Any, *before: Any) -> list[Any]:
            step, increment = (code.load(self.at_step(x, t)) for x in (self.step, self.increment))
            B_t, C_t = self.at_step(B, t), self.at_step(C, t)
            # two sums, since one would wait for each of its additions
            outputs = [code.load(self.at_step(self.output, t)), code.constant(0)]
            after: list[Any] = []
            for start in range(0, size, STATES_ABREAST):
                ns = range(start, min(start + STATES_ABREAST, size))
                rate = code.load(tuple(self.vector_at(rates, n) for n in ns))
                decay = code.exp2(code.multiply(step, rate), is_decay=self.kind.is_decaying)
                b, c = (
                    code.broadcast(tuple(code.sum(x, n * FLOAT_BYTES) for n in ns))
                    for x in (B_t, C_t)
                )
                increments = code.multiply(increment, b)
                after += code.multiply_add(decay, before[ns.start : ns.stop], increments)
                for n, c_n in zip(ns, c, strict=True):
                    outputs[n % 2] = code.multiply_add(after[n], c_n, outputs[n % 2])
            code.store(code.add(*outputs), self.at_step(self.output, t))
            return after

        initial = [code.load(self.vector_at(states, n)) for n in range(size)]
        for n, state in enumerate(code.loop(place.num_steps, body, initial)):
            code.store(state, self.vector_at(states, n))

    def _finish(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Store the output; the last direction applies the gate."""
        code, dtype = self.code, self.kind.dtype
        is_last = code.compare("==", code.sum(place.g, 1), self.field["num_directions"])

        def body(t: Any) -> None:
            y = code.load(self.at_step(self.output, t))
            if self.kind.is_gated:
                y = code.either(is_last, lambda: self._gated(y, self.at_step(streams["z"], t)), y)
            code.store(y, self.at_step(streams["y"], t), dtype)

        self.loop_abreast(place.num_steps, body)

    def _gated(self, y: Any, gate: Any) -> Any:
        """The vector y silu(gate)."""
        return self.code.multiply(y, self.code.silu(self.code.load(gate, self.kind.dtype)))
