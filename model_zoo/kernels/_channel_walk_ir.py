"""Compiled kernels that walk along tokens, each channel by itself: the loops, in LLVM's terms.

Directions are walked one after another. Within one, tokens are walked in chunks and a chunk block
after block, so that memory is read nearly in order. A partial last block goes through padded copies
of a chunk; what an operator does with a chunk then never meets a partial vector.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from model_zoo.kernels._channel_walk import ChannelWalk
from model_zoo.kernels._llvm import FLOAT_BYTES
from model_zoo.kernels._vector_ir import VectorIR, new_function

INTEGER_BYTES: Final = 8
STEPS_ABREAST: Final = 4  # of chains of instructions that wait for each other
Kind = TypeVar("Kind", bound=ChannelWalk)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one chunk of one block stands.

    Attributes:
        start: Steps of the direction before it.
        token: The one of its first step.
        sign: From a step to the next, in tokens.
        channel: The first.
        num_lanes: Channels of the block.
        kept: Address of what the block keeps.
    """

    g: Any
    start: Any
    num_steps: Any
    token: Any
    sign: Any
    channel: Any
    num_lanes: Any
    kept: Any


@dataclass(frozen=True, slots=True)
class Steps:
    """An address for each step of a chunk: the first and the distance to the next."""

    first: Any
    distance: Any


class ChannelWalkIR(Generic[Kind]):
    """Writes the function (table, row, first block, number of blocks, scratch) of an operator."""

    def __init__(self, kind: Kind, name: str) -> None:
        self.kind = kind
        self.function = new_function(name, num_arguments=5)
        table, self.row, self.first_block, self.num_blocks, scratch = self.function.args
        self.code = code = VectorIR(self.function, kind.level)
        self.field = {
            field: code.load_integer(code.sum(table, index * INTEGER_BYTES))
            for index, field in enumerate(kind.fields)
        }
        num_arrays = kind.NUM_BUFFERS + len(kind.channel_streams)
        arrays = [code.sum(scratch, i * kind.buffer_bytes) for i in range(num_arrays)]
        self.buffers = [
            Steps(x, code.sum(kind.level.vector_bytes)) for x in arrays[: kind.NUM_BUFFERS]
        ]
        padded_bytes = code.sum(code.num_lanes * kind.dtype.itemsize)
        self.padded = {
            stream: Steps(x, padded_bytes)
            for stream, x in zip(kind.channel_streams, arrays[kind.NUM_BUFFERS :], strict=True)
        }
        self.kept = code.sum(scratch, kind.scratch_bytes(num_blocks=0))
        self.shared = code.sum(self.kept, -kind.num_shared * kind.level.vector_bytes)

    def emit(self) -> Any:
        """Write it; the `llvmlite.ir.Function` comes back."""
        self.code.loop(self.field["num_directions"], self._direction)
        self.code.builder.ret_void()
        return self.function

    def chunk(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Take a block through a chunk of at least one step; `streams` are whole vectors."""
        raise NotImplementedError

    def vector_at(self, base: Any, index: Any) -> Any:
        """The address of a vector in an array of them."""
        return self.code.sum(base, self.code.product(index, self.kind.level.vector_bytes))

    def at_step(self, steps: Steps, t: Any) -> Any:
        """The address of step t, or of each of a tuple."""
        if isinstance(t, tuple):
            return tuple(self.at_step(steps, one) for one in t)
        return self.code.sum(steps.first, self.code.product(t, steps.distance))

    def loop_abreast(
        self, count: Any, body: Callable[..., Sequence[Any] | None], carried: Sequence[Any] = ()
    ) -> list[Any]:
        """Run `body(t, *carried)` for all steps below `count`; t is a tuple of consecutive ones."""
        code = self.code
        num_groups = code.quotient(count, STEPS_ABREAST)

        def group(index: Any, *carried: Any) -> Sequence[Any] | None:
            first = code.product(index, STEPS_ABREAST)
            return body(tuple(code.sum(first, i) for i in range(STEPS_ABREAST)), *carried)

        carried = code.loop(num_groups, group, carried)
        done = code.product(num_groups, STEPS_ABREAST)

        def single(index: Any, *carried: Any) -> Sequence[Any] | None:
            return body((code.sum(done, index),), *carried)

        return code.loop(code.difference(count, done), single, carried)

    def of_block(self, name: str, place: Place, num_vectors: int = 1) -> Any:
        """The address of a block's vectors in an array (G, blocks, num_vectors, W)."""
        code, lanes = self.code, self.code.num_lanes
        num_blocks = code.quotient(code.sum(self.field["channels"], lanes - 1), lanes)
        channel = code.sum(code.product(place.g, num_blocks, lanes), place.channel)
        return code.sum(self.field[name], code.product(channel, num_vectors * FLOAT_BYTES))

    def of_token(self, name: str, g: Any, token: Any) -> Any:
        """Where a token begins in a stream."""
        index = {"g": lambda: g, "b": lambda: self.row, "l": lambda: token, "p": self._part}
        offsets = (
            self.code.product(index[axis](), self.field[f"{name}_{axis}"])
            for axis in self.kind.STREAMS[name]
        )
        return self.code.sum(self.field[name], *offsets)

    def _part(self) -> Any:
        """Which part of the channels the call is for."""
        return self.code.quotient(self.first_block, self.field["blocks_per_task"])

    def steps(self, name: str, place: Place, offset: Any) -> Steps:
        """The tokens of a stream in the direction's order, from `offset` bytes into each."""
        first = self.code.sum(self.of_token(name, place.g, place.token), offset)
        return Steps(first, self.code.product(place.sign, self.field[f"{name}_l"]))

    def prefetch_next_block(self, streams: Mapping[str, Steps], t: Any) -> None:
        """Its tokens lie too far apart, and this block between them, for the processor to guess.

        Args:
            t: A tuple of steps.
        """
        block_bytes = self.code.num_lanes * self.kind.dtype.itemsize
        for steps in streams.values():
            for address in self.at_step(steps, t):
                self.code.prefetch(self.code.sum(address, block_bytes))

    def _direction(self, g: Any) -> None:
        code, length = self.code, self.field["length"]
        chunk_steps = self.field["chunk_steps"]
        num_kept = code.product(self.num_blocks, self.kind.num_kept)
        code.loop(num_kept, lambda i: code.store(code.constant(0), self.vector_at(self.kept, i)))
        is_reversed = code.bit(self.field["reversed"], g)
        first = code.product(is_reversed, code.sum(length, -1))
        sign = code.sum(1, code.product(is_reversed, -2))

        def chunk(index: Any) -> None:
            start = code.product(index, chunk_steps)
            num_steps = code.smaller(code.difference(length, start), chunk_steps)
            token = code.sum(first, code.product(sign, start))

            def block(of_task: Any) -> None:
                channel = code.product(code.sum(self.first_block, of_task), code.num_lanes)
                num_lanes = code.difference(self.field["channels"], channel)
                num_lanes = code.smaller(num_lanes, code.num_lanes)
                kept = self.vector_at(self.kept, code.product(of_task, self.kind.num_kept))
                self._block(Place(g, start, num_steps, token, sign, channel, num_lanes, kept))

            code.loop(self.num_blocks, block)

        num_chunks = code.quotient(code.sum(length, chunk_steps, -1), chunk_steps)
        if self.kind.IS_BACKWARD:
            last = code.sum(num_chunks, -1)
            code.loop(num_chunks, lambda done: chunk(code.difference(last, done)))
        else:
            code.loop(num_chunks, chunk)

    def _block(self, place: Place) -> None:
        """Run `chunk`, on padded copies if the block is partial."""
        code, builder = self.code, self.code.builder
        offset = code.product(place.channel, self.kind.dtype.itemsize)
        outside = {name: self.steps(name, place, offset) for name in self.kind.channel_streams}
        is_partial = code.compare("<", place.num_lanes, code.num_lanes)
        with builder.if_then(is_partial, likely=False):
            for name, steps in outside.items():
                self._copy(place, steps, self.padded[name])
        streams = {
            name: Steps(
                builder.select(is_partial, self.padded[name].first, steps.first),
                builder.select(is_partial, self.padded[name].distance, steps.distance),
            )
            for name, steps in outside.items()
        }
        self.chunk(place, streams)
        with builder.if_then(is_partial, likely=False):
            for name in self.kind.channel_outputs:
                self._copy(place, self.padded[name], outside[name])

    def _copy(self, place: Place, source: Steps, destination: Steps) -> None:
        def body(t: Any) -> None:
            start, end = self.at_step(source, t), self.at_step(destination, t)
            self.code.copy(start, end, place.num_lanes, self.kind.dtype)

        self.code.loop(place.num_steps, body)
