"""Vectors of float32 in LLVM's intermediate representation: loops, memory, exponentials.

A vector has as many lanes as a register of the instruction set. Exponentials and logarithms are
polynomials in registers, good to about one part in 10^7. Addresses and counts are 64-bit integers,
distances in memory are in bytes. What is passed around are llvmlite's values, which have no type
in Python; a Python integer may stand for a constant one. Arithmetic takes tuples of vectors too and
writes each instruction for all of them before the next, so that a processor, which looks ahead some
hundred instructions, finds independent ones there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from llvmlite import ir

from model_zoo.kernels._llvm import FLOAT_BYTES, InstructionSet
from model_zoo.kernels._polynomials import EXP2_COEFFICIENTS, LOG1P_COEFFICIENTS

I16: Final = ir.IntType(16)
I32: Final = ir.IntType(32)
I64: Final = ir.IntType(64)
F32: Final = ir.FloatType()
ELEMENTS: Final = {torch.float32: F32, torch.float16: ir.HalfType(), torch.bfloat16: I16}

LOG2_E: Final = 1.4426950408889634
# Adding it rounds a float32 to an integer, which then stands in the lowest bits.
ROUNDER: Final = 1.5 * 2.0**23
# Of 2^x by exponent bits: the first gives exactly 0, the second infinity.
EXP2_RANGE: Final = (-127.0, 128.0)
# Of e^x: within it the result is a normal number.
EXP_RANGE: Final = (-87.0, 88.0)
EXPONENT_BIT: Final = 23
NEAREST_QUIET: Final = 8  # immediate of VREDUCE: to the nearest integer, no exception
CURRENT_ROUNDING: Final = 4


def new_function(name: str, num_arguments: int) -> Any:
    """A function of 64-bit integers in a module of its own."""
    signature = ir.FunctionType(ir.VoidType(), [I64] * num_arguments)
    return ir.Function(ir.Module(name), signature, name)


class VectorIR:
    """Appends operations to `function`, which must be empty."""

    def __init__(self, function: Any, level: InstructionSet) -> None:
        self.level = level
        self.num_lanes = level.num_lanes
        self.module = function.module
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.vector = ir.VectorType(F32, level.num_lanes)
        self.bits = ir.VectorType(I32, level.num_lanes)

    def sum(self, *terms: Any) -> Any:
        """Of integers."""
        total = _integer(terms[0])
        for term in terms[1:]:
            total = self.builder.add(total, _integer(term))
        return total

    def product(self, *factors: Any) -> Any:
        """Of integers."""
        result = _integer(factors[0])
        for factor in factors[1:]:
            result = self.builder.mul(result, _integer(factor))
        return result

    def difference(self, left: Any, right: Any) -> Any:
        """Of integers."""
        return self.builder.sub(_integer(left), _integer(right))

    def quotient(self, dividend: Any, divisor: Any) -> Any:
        """Of integers, neither negative, rounded down."""
        return self.builder.udiv(dividend, _integer(divisor))

    def bit(self, bits: Any, index: Any) -> Any:
        """The integer 1 if that bit is set, else 0."""
        return self.builder.and_(self.builder.lshr(bits, index), _integer(1))

    def compare(self, operator: str, left: Any, right: Any) -> Any:
        """Whether a comparison of integers, such as ``<``, holds."""
        return self.builder.icmp_signed(operator, left, _integer(right))

    def smaller(self, left: Any, right: Any) -> Any:
        """Of two integers."""
        return self.builder.select(self.compare("<", left, right), left, _integer(right))

    def either(self, condition: Any, then: Callable[[], Any], otherwise: Any) -> Any:
        """`then()` if `condition` holds, evaluated only then; else `otherwise`."""
        before = self.builder.block
        with self.builder.if_then(condition):
            value = then()
            inside = self.builder.block

        def chosen(value: Any, otherwise: Any) -> Any:
            result = self.builder.phi(self.vector)
            result.add_incoming(value, inside)
            result.add_incoming(otherwise, before)
            return result

        return _each(chosen, value, otherwise)

    def loop(
        self, count: Any, body: Callable[..., Sequence[Any] | None], carried: Sequence[Any] = ()
    ) -> list[Any]:
        """Run `body(index, *carried)` for each index below `count`; it gives the next `carried`."""
        builder = self.builder
        blocks = [builder.append_basic_block() for _ in range(3)]
        head, inside, after = blocks
        before = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        initial = [_integer(0), *carried]
        variables = [builder.phi(value.type) for value in initial]
        builder.cbranch(self.compare("<", variables[0], count), inside, after)
        builder.position_at_end(inside)
        following = body(*variables) or ()
        following = [self.sum(variables[0], 1), *following]
        for variable, first, later in zip(variables, initial, following, strict=True):
            variable.add_incoming(first, before)
            variable.add_incoming(later, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return variables[1:]

    def load_integer(self, address: Any) -> Any:
        """The 64-bit integer there."""
        return self.builder.load(self._pointer(address), typ=I64)

    def broadcast(self, address: Any) -> Any:
        """The float32 there, in every lane; of a tuple of addresses, at each."""

        def broadcast(address: Any) -> Any:
            number = self.builder.load(self._pointer(address), align=FLOAT_BYTES, typ=F32)
            return self._splat(number)

        return _each(broadcast, address)

    def load(self, address: Any, dtype: torch.dtype = torch.float32) -> Any:
        """Consecutive elements, widened to float32; of a tuple of addresses, at each."""
        return _each(lambda one: self._load(one, dtype), address)

    def _load(self, address: Any, dtype: torch.dtype) -> Any:
        kind = ir.VectorType(ELEMENTS[dtype], self.num_lanes)
        value = self.builder.load(self._pointer(address), align=dtype.itemsize, typ=kind)
        if dtype == torch.bfloat16:
            high = self.builder.shl(self.builder.zext(value, self.bits), self._whole(16))
            return self.builder.bitcast(high, self.vector)
        return value if dtype == torch.float32 else self.builder.fpext(value, self.vector)

    def store(self, value: Any, address: Any, dtype: torch.dtype = torch.float32) -> None:
        """To consecutive elements, rounded to the nearest; of tuples, each to its address."""
        _each(lambda one, where: self._store(one, where, dtype), value, address)

    def _store(self, value: Any, address: Any, dtype: torch.dtype) -> None:
        if dtype == torch.bfloat16:
            value = self._rounded_to_bfloat16(value)
        elif dtype == torch.float16:
            value = self.builder.fptrunc(value, ir.VectorType(ELEMENTS[dtype], self.num_lanes))
        self.builder.store(value, self._pointer(address), align=dtype.itemsize)

    def store_total(self, value: Any, address: Any) -> None:
        """The sum of a vector's lanes, as one float32."""
        name = f"llvm.vector.reduce.fadd.v{self.num_lanes}f32"
        function = self._declared(name, F32, [F32, self.vector])
        zero = ir.Constant(F32, -0.0)
        total = self.builder.call(function, [zero, value], fastmath=("reassoc",))
        self.builder.store(total, self._pointer(address), align=FLOAT_BYTES)

    def copy(self, source: Any, destination: Any, count: Any, dtype: torch.dtype) -> None:
        """Copy `count` elements one by one."""
        kind = ir.IntType(8 * dtype.itemsize)

        def body(index: Any) -> None:
            offset = self.product(index, dtype.itemsize)
            pointers = [self._pointer(self.sum(x, offset)) for x in (source, destination)]
            element = self.builder.load(pointers[0], align=dtype.itemsize, typ=kind)
            self.builder.store(element, pointers[1], align=dtype.itemsize)

        self.loop(count, body)

    def prefetch(self, address: Any) -> None:
        """Ask for the cache line there; it need not exist."""
        function = self._declared(
            "llvm.prefetch.p0", ir.VoidType(), [ir.PointerType(), I32, I32, I32]
        )
        read, keep_in_l2, data = (ir.Constant(I32, x) for x in (0, 2, 1))
        self.builder.call(function, [self._pointer(address), read, keep_in_l2, data])

    def _pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, ir.PointerType())

    def _rounded_to_bfloat16(self, value: Any) -> Any:
        """To the nearest, ties to even; NaN stays NaN."""
        b = self.builder
        bits = b.bitcast(value, self.bits)
        is_odd = b.and_(b.lshr(bits, self._whole(16)), self._whole(1))
        rounded = b.add(bits, b.add(is_odd, self._whole(0x7FFF)))
        kept = b.select(b.fcmp_unordered("uno", value, value), self._whole(0x7FC00000), rounded)
        return b.trunc(b.lshr(kept, self._whole(16)), ir.VectorType(I16, self.num_lanes))

    def constant(self, number: float) -> Any:
        """The same float32 in every lane."""
        return ir.Constant(self.vector, [number] * self.num_lanes)

    def add(self, a: Any, b: Any) -> Any:
        """Of vectors."""
        return _each(self.builder.fadd, a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        """Of vectors."""
        return _each(self.builder.fmul, a, b)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """The vector a b + c, rounded once where there is an instruction for it."""
        return self._intrinsic(f"llvm.fmuladd.v{self.num_lanes}f32", a, b, c)

    def silu(self, x: Any) -> Any:
        """The vector x / (1 + e^-x)."""
        e = self.exp(_each(self.builder.fneg, x))
        return _each(self.builder.fdiv, x, self.add(self.constant(1), e))

    def sigmoid(self, x: Any) -> Any:
        """The vector 1 / (1 + e^-x)."""
        e = self.exp(_each(self.builder.fneg, x))
        return _each(
            lambda e: self.builder.fdiv(self.constant(1), e), self.add(self.constant(1), e)
        )

    def softplus(self, x: Any) -> Any:
        """The vector log(1 + e^x), its smallest values accurate too."""
        magnitude = self._intrinsic(f"llvm.fabs.v{self.num_lanes}f32", x)
        e = self.exp(_each(self.builder.fneg, magnitude))
        log1p = self._polynomial(e, LOG1P_COEFFICIENTS)
        return self.multiply_add(e, log1p, self._at_least(0, x))

    def exp(self, x: Any) -> Any:
        """The vector e^x, held within e^-87 and e^88."""
        x = self._within(EXP_RANGE, x)
        shifted = self.multiply_add(x, self.constant(LOG2_E), self.constant(ROUNDER))
        n = self._subtract(self.constant(ROUNDER), shifted)
        r = self.multiply_add(x, self.constant(LOG2_E), n)  # rounded once: good for large x too
        return self._add_to_exponent(self._small_power(r), shifted)

    def exp2(self, x: Any, *, is_decay: bool) -> Any:
        """The vector 2^x, 0 and infinity included; what is subnormal may become 0.

        Args:
            is_decay: No x is above 0.
        """
        if self.level.has_scale:
            r = self._avx512("reduce", x, ir.Constant(I32, NEAREST_QUIET))
            return self._avx512("scalef", self._small_power(r), self._subtract(x, r))
        lowest, highest = EXP2_RANGE
        x = self._at_least(lowest, x) if is_decay else self._within((lowest, highest), x)
        shifted = self.add(x, self.constant(ROUNDER))
        r = self._subtract(x, self._subtract(shifted, self.constant(ROUNDER)))
        return self._add_to_exponent(self._small_power(r), shifted)

    def _subtract(self, a: Any, b: Any) -> Any:
        return _each(self.builder.fsub, a, b)

    def _small_power(self, r: Any) -> Any:
        return self._polynomial(r, (1.0, *EXP2_COEFFICIENTS))

    def _polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        *others, value = (self.constant(c) for c in coefficients)
        for c in reversed(others):
            value = self.multiply_add(value, x, c)
        return value

    def _add_to_exponent(self, power: Any, shifted: Any) -> Any:
        """Power times 2^n, where `shifted` is n + ROUNDER."""
        b = self.builder

        def scaled(power: Any, shifted: Any) -> Any:
            exponent = b.shl(b.bitcast(shifted, self.bits), self._whole(EXPONENT_BIT))
            return b.bitcast(b.add(b.bitcast(power, self.bits), exponent), self.vector)

        return _each(scaled, power, shifted)

    def _within(self, bounds: tuple[float, float], x: Any) -> Any:
        high = self.constant(bounds[1])

        def at_most(x: Any) -> Any:
            return self.builder.select(self.builder.fcmp_ordered("<", high, x), high, x)

        return _each(at_most, self._at_least(bounds[0], x))

    def _at_least(self, bound: float, x: Any) -> Any:
        """The larger; NaN where x is, as one instruction of x86 has it in this order."""
        low = self.constant(bound)

        def at_least(x: Any) -> Any:
            return self.builder.select(self.builder.fcmp_ordered(">", low, x), low, x)

        return _each(at_least, x)

    def _avx512(self, operation: str, *operands: Any) -> Any:
        """An operation on all 16 lanes that has no portable name."""
        name = f"llvm.x86.avx512.mask.{operation}.ps.512"
        rounding = ir.Constant(I32, CURRENT_ROUNDING)
        return self._intrinsic(name, *operands, self.constant(0), ir.Constant(I16, -1), rounding)

    def _intrinsic(self, name: str, *operands: Any) -> Any:
        """Call a function of LLVM's that gives a vector."""

        def call(*operands: Any) -> Any:
            function = self._declared(name, self.vector, [x.type for x in operands])
            return self.builder.call(function, operands)

        return _each(call, *operands)

    def _declared(self, name: str, result: Any, arguments: list[Any]) -> Any:
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(result, arguments), name)
        return function

    def _splat(self, number: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        single = self.builder.insert_element(undefined, number, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(single, undefined, ir.Constant(self.bits, None))

    def _whole(self, number: int) -> Any:
        """The same 32-bit integer in every lane."""
        return ir.Constant(self.bits, [number] * self.num_lanes)


def _each(operation: Callable[..., Any], *operands: Any) -> Any:
    """The operation on vectors, or on each of the tuples of them; a vector may go with a tuple."""
    widths = {len(x) for x in operands if isinstance(x, tuple)}
    if not widths:
        return operation(*operands)
    (width,) = widths
    columns = (x if isinstance(x, tuple) else (x,) * width for x in operands)
    return tuple(operation(*row) for row in zip(*columns, strict=True))


def _integer(value: Any) -> Any:
    return ir.Constant(I64, value) if isinstance(value, int) else value
