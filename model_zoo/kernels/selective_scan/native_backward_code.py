"""What the compiled gradient of the scan does with a chunk of tokens and a block of channels.

States are walked through a chunk a few at a time: forwards from the checkpoint, keeping what each
step began with, then backwards with the adjoint of the state, a_t = C_t dy_t + decay_{t+1} a_{t+1}.
All sums over states gather in buffers of a chunk; sums over channels in vectors for each step and
state, whose lanes are added up when the last block of the call has passed.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import torch

from model_zoo.kernels._channel_walk import CHUNK_STEPS
from model_zoo.kernels._channel_walk_ir import ChannelWalkIR, Place, Steps
from model_zoo.kernels._llvm import FLOAT_BYTES
from model_zoo.kernels.selective_scan.native_backward import STATES_ABREAST, ScanBackward

LN_2: Final = 0.6931471805599453  # rates are scaled for exp2


class ScanBackwardIR(ChannelWalkIR[ScanBackward]):
    """Writes the gradient of the selective scan."""

    def __init__(self, kind: ScanBackward) -> None:
        super().__init__(kind, "selective_scan_backward")
        self.step, self.increment, self.grad_y, self.output, *sums = self.buffers
        self.adjoint_B, self.grad_step = sums
        num_states = kind.num_states
        arrays = [self.shared]
        per_step = CHUNK_STEPS * num_states
        for num_vectors in (per_step, per_step, num_states, CHUNK_STEPS * STATES_ABREAST):
            arrays.append(self.vector_at(arrays[-1], num_vectors))
        self.sums_B, self.sums_C, self.on_entry, self.states, self.decays = arrays

    def chunk(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Prepare, take the states through forwards and backwards, finish."""
        self._prepare(place, streams)
        self._enter(place)
        first = 0
        for size, num_groups in Counter(self.kind.group_sizes).items():
            self._groups(place, first, size, num_groups)
            first += size * num_groups
        self._finish(place, streams)
        self._store_sums(place)

    def _prepare(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Make step sizes, increments before B, gradients of the ungated output; begin sums."""
        code = self.code
        skip, bias = (code.load(self.of_block(name, place)) for name in ("D", "delta_bias"))

        def body(t: Any) -> None:
            self.prefetch_next_block(streams, t)
            u, grad = (code.load(self.at_step(streams[name], t)) for name in ("u", "grad"))
            step = code.add(code.load(self.at_step(streams["delta"], t)), bias)
            if self.kind.delta_softplus:
                step = code.softplus(step)
            if self.kind.is_gated:
                grad = code.multiply(grad, code.silu(code.load(self.at_step(streams["z"], t))))
            code.store(step, self.at_step(self.step, t))
            code.store(code.multiply(step, u), self.at_step(self.increment, t))
            code.store(grad, self.at_step(self.grad_y, t))
            code.store(code.multiply(skip, u), self.at_step(self.output, t))
            zero = (code.constant(0),) * len(t)
            code.store(zero, self.at_step(self.adjoint_B, t))
            code.store(zero, self.at_step(self.grad_step, t))

        self.loop_abreast(place.num_steps, body)

    def _enter(self, place: Place) -> None:
        """Fetch the states on entry; before the first block of a call, clear what blocks share."""
        code, num_states = self.code, self.kind.num_states
        index = code.quotient(place.start, self.field["checkpoint_steps"])
        first = code.sum(
            self.of_token("checkpoints", place.g, index), code.product(place.channel, FLOAT_BYTES)
        )
        checkpoint = Steps(first, code.product(self.field["channels"], FLOAT_BYTES))

        def state(n: Any) -> None:
            source, destination = self.at_step(checkpoint, n), self.vector_at(self.on_entry, n)
            code.copy(source, destination, place.num_lanes, torch.float32)

        code.loop(num_states, state)
        is_first = code.compare("==", place.channel, code.product(self.first_block, code.num_lanes))
        with code.builder.if_then(is_first, likely=False):
            zero = code.constant(0)
            code.loop(
                2 * CHUNK_STEPS * num_states,
                lambda i: code.store(zero, self.vector_at(self.sums_B, i)),
            )

    def _groups(self, place: Place, first: int, size: int, num_groups: int) -> None:
        """Take groups of `size` states through the chunk, one group after another."""
        code = self.code

        def group(index: Any) -> None:
            n = code.sum(first, code.product(index, size))
            rates_at = self.vector_at(self.of_block("A", place, self.kind.num_states), n)
            rates = code.load(tuple(self.vector_at(rates_at, i) for i in range(size)))
            self._forwards(place, n, rates)
            self._backwards(place, n, rates)

        code.loop(num_groups, group)

    def _forwards(self, place: Place, n: Any, rates: tuple[Any, ...]) -> None:
        """Keep the decay of each step and the state before it; add up the output."""
        code, size = self.code, len(rates)
        B, C = (self.steps(x, place, code.product(n, FLOAT_BYTES)) for x in ("B", "C"))

        def body(t: Any, *before: Any) -> tuple[Any, ...]:
            step, increment = (code.load(self.at_step(x, t)) for x in (self.step, self.increment))
            decay = code.exp2(code.multiply(step, rates), is_decay=self.kind.is_decaying)
            code.store(decay, self._of_group(self.decays, t, size))
            code.store(before, self._of_group(self.states, t, size))
            b = self._of_states(B, t, size)
            after: tuple[Any, ...] = code.multiply_add(decay, before, code.multiply(increment, b))
            if self.kind.is_gated:
                self._add_at(self.output, t, after, self._of_states(C, t, size))
            return after

        entry = self.vector_at(self.on_entry, n)
        code.loop(place.num_steps, body, [code.load(self.vector_at(entry, i)) for i in range(size)])

    def _backwards(self, place: Place, n: Any, rates: tuple[Any, ...]) -> None:
        """Carry the adjoint to the chunk's beginning; add up what it gives."""
        code, size = self.code, len(rates)
        B, C = (self.steps(x, place, code.product(n, FLOAT_BYTES)) for x in ("B", "C"))
        last = code.sum(place.num_steps, -1)

        def body(done: Any, *carried: Any) -> tuple[Any, ...]:
            t = code.difference(last, done)
            adjoint, sum_A = carried[:size], carried[size:]
            buffers = (self.step, self.increment, self.grad_y)
            step, increment, grad_y = (code.load(self.at_step(x, t)) for x in buffers)
            decay, before = (
                code.load(self._of_group(x, t, size)) for x in (self.decays, self.states)
            )
            b, c = (self._of_states(x, t, size) for x in (B, C))
            adjoint = code.multiply_add(c, grad_y, adjoint)
            state = code.multiply_add(decay, before, code.multiply(increment, b))
            row = code.sum(code.product(t, self.kind.num_states), n)
            for sums, value, weight in (
                (self.sums_B, adjoint, increment),
                (self.sums_C, state, grad_y),
            ):
                address = tuple(self.vector_at(sums, code.sum(row, i)) for i in range(size))
                code.store(code.multiply_add(value, weight, code.load(address)), address)
            self._add_at(self.adjoint_B, t, adjoint, b)
            adjoint = code.multiply(adjoint, decay)
            exponent = code.multiply(adjoint, before)
            self._add_at(self.grad_step, t, exponent, rates)
            return (*adjoint, *code.multiply_add(exponent, step, sum_A))

        adjoints = self.vector_at(place.kept, n)
        sums_A = self.vector_at(adjoints, self.kind.num_states)
        address = tuple(self.vector_at(x, i) for x in (adjoints, sums_A) for i in range(size))
        carried = code.loop(place.num_steps, body, code.load(address))
        code.store(tuple(carried), address)

    def _finish(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Store the gradients of what has a value for each token and channel; add up the others."""
        code, kind = self.code, self.kind
        skip, bias = (code.load(self.of_block(name, place)) for name in ("D", "delta_bias"))
        is_later = code.compare(">", place.g, 0)

        def body(t: Any, sum_D: Any, sum_bias: Any) -> tuple[Any, Any]:
            buffers = (self.step, self.grad_y, self.adjoint_B, self.grad_step)
            step, grad_y, adjoint_B, grad_step = (code.load(self.at_step(x, t)) for x in buffers)
            u, delta = (code.load(self.at_step(streams[name], t)) for name in ("u", "delta"))
            grad_u = code.multiply_add(step, adjoint_B, code.multiply(skip, grad_y))
            code.store(grad_u, self.at_step(streams["grad_u"], t))
            scaled = code.multiply(grad_step, code.constant(LN_2))
            grad_delta = code.multiply_add(u, adjoint_B, scaled)
            if kind.delta_softplus:
                grad_delta = code.multiply(grad_delta, code.sigmoid(code.add(delta, bias)))
            code.store(grad_delta, self.at_step(streams["grad_delta"], t))
            if kind.is_gated:
                self._gradient_of_gate(t, streams, is_later)
            for one_u, one_grad, one_delta in zip(u, grad_y, grad_delta, strict=True):
                sum_D = code.multiply_add(one_u, one_grad, sum_D)
                sum_bias = code.add(sum_bias, one_delta)
            return sum_D, sum_bias

        sums = self.vector_at(place.kept, 2 * kind.num_states)
        address = (sums, self.vector_at(sums, 1))
        code.store(tuple(self.loop_abreast(place.num_steps, body, code.load(address))), address)

    def _gradient_of_gate(self, t: Any, streams: Mapping[str, Steps], is_later: Any) -> None:
        code = self.code
        z, grad = (code.load(self.at_step(streams[name], t)) for name in ("z", "grad"))
        sigmoid, one = code.sigmoid(z), code.constant(1)
        rest = code.multiply_add(code.multiply(code.constant(-1), z), sigmoid, z)
        slope = code.multiply(sigmoid, code.add(one, rest))
        so_far = code.either(
            is_later,
            lambda: code.load(self.at_step(streams["grad_z"], t)),
            (code.constant(0),) * len(t),
        )
        weight = code.multiply(grad, slope)
        total = code.multiply_add(weight, code.load(self.at_step(self.output, t)), so_far)
        code.store(total, self.at_step(streams["grad_z"], t))

    def _store_sums(self, place: Place) -> None:
        """After the last block of a call, those for B and C; after a direction, the block's own."""
        code, num_states = self.code, self.kind.num_states
        last_block = code.sum(self.first_block, self.num_blocks, -1)
        is_last = code.compare("==", place.channel, code.product(last_block, code.num_lanes))
        with code.builder.if_then(is_last, likely=False):
            for name, sums in (("grad_B", self.sums_B), ("grad_C", self.sums_C)):
                steps = self.steps(name, place, 0)

                def of_step(t: Any, steps: Steps = steps, sums: Any = sums) -> None:
                    def of_state(n: Any) -> None:
                        vector = self.vector_at(sums, code.sum(code.product(t, num_states), n))
                        address = code.sum(self.at_step(steps, t), code.product(n, FLOAT_BYTES))
                        code.store_total(code.load(vector), address)

                    code.loop(num_states, of_state)

                code.loop(place.num_steps, of_step)
        with code.builder.if_then(code.compare("==", place.start, 0), likely=False):
            kept = self.vector_at(place.kept, num_states)
            for name, num_vectors in (("grad_A", num_states), ("grad_D", 1), ("grad_bias", 1)):
                address = self._of_row(name, place, num_vectors)

                def copy(i: Any, kept: Any = kept, address: Any = address) -> None:
                    code.store(code.load(self.vector_at(kept, i)), self.vector_at(address, i))

                code.loop(num_vectors, copy)
                kept = self.vector_at(kept, num_vectors)

    def _of_row(self, name: str, place: Place, num_vectors: int) -> Any:
        """The address of a block's vectors in an array (B, G, blocks, num_vectors, W)."""
        code, lanes = self.code, self.code.num_lanes
        num_blocks = code.quotient(code.sum(self.field["channels"], lanes - 1), lanes)
        row = code.product(self.row, self.field["num_directions"], num_blocks, num_vectors)
        return self.vector_at(self.of_block(name, place, num_vectors), row)

    def _of_group(self, base: Any, t: Any, size: int) -> tuple[Any, ...]:
        """Addresses of the vectors of a step in an array of a group."""
        first = self.code.product(t, STATES_ABREAST)
        return tuple(self.vector_at(base, self.code.sum(first, i)) for i in range(size))

    def _of_states(self, steps: Steps, t: Any, size: int) -> Any:
        """The numbers of a group's states at a step, each in every lane."""
        address = self.at_step(steps, t)
        return self.code.broadcast(
            tuple(self.code.sum(address, i * FLOAT_BYTES) for i in range(size))
        )

    def _add_at(self, steps: Steps, t: Any, left: Any, right: Any) -> None:
        """Add the products of two tuples to a buffer."""
        code, address = self.code, self.at_step(steps, t)
        total = code.load(address)
        for a, b in zip(left, right, strict=True):
            total = code.multiply_add(a, b, total)
        code.store(total, address)
